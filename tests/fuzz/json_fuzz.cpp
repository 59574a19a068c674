// The JSON gate: what it lets through is bounded in depth, has each key once and writes back the
// same; and the readers of single values on it.

#include <algorithm>

#include "msa/base/json.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/json_mutation.h"

namespace msa::fuzz {
namespace {

constexpr const char* kName = "config.json";
constexpr int kMaxDepth = 6;

int depth_of(const Json& json) {
  if (!json.is_structured()) return 0;
  int depth = 0;
  for (const Json& part : json) depth = std::max(depth, depth_of(part));
  return depth + 1;
}

void read_values(const Json& json) {
  accepts(kName, [&] {
    const int64_t number = json_integer(json, "i", -5, 1 << 20, kName);
    expect(number >= -5 && number <= 1 << 20, "an integer out of range");
  });
  accepts(kName, [&] {
    const double number = json_number(json, "n", 0, 1e300, kName);
    expect(number >= 0 && number <= 1e300, "a number out of range");
  });
  accepts(kName, [&] { json_bool(json, "b", kName); });
  accepts(kName, [&] { json_string(json, "s", kName); });
  json_has(json, "h");
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  const std::string text = text_of(data, size);
  accepts(kName, [&] {
    const Json json = parse_json(text, kName, {.max_bytes = 1 << 18, .max_depth = kMaxDepth});
    expect(depth_of(json) <= kMaxDepth, "nested too deep");
    expect(text.find('\0') == std::string::npos, "a zero byte in JSON");
    const std::string line = to_line(json);
    expect(parse_json(line, kName) == json, "another value after writing and reading", line);
    read_values(json);
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (chance(random, 16)) return give("[" + text_of(data, size) + "]", data, max_size);
  return give(with_json_mutated(text_of(data, size), max_size, random), data, max_size);
}
