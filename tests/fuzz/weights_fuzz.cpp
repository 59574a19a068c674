// model.safetensors of a folder that may keep matrices as int8: what is accepted can be read as
// numbers and made into int8, which reads as the same numbers again.

#include <cmath>
#include <cstring>

#include "msa/base/bfloat16.h"
#include "msa/model/stored_weights.h"
#include "msa/storage/int8_values.h"
#include "msa/storage/stored_values.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/tensor_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

using storage::DataType;

// What make_seeds writes: matrices and a vector.
const std::pair<const char*, std::vector<int64_t>> kWeights[] = {
    {"a.weight", {3, 4}}, {"b.weight", {2, 5}}, {"c.weight", {6}}, {"d", {}}};

template <typename Value, typename Write>
std::vector<Value> written(const Write& write) {
  std::vector<Value> values;
  write([&](std::span<const std::byte> bytes) {
    const size_t before = values.size();
    values.resize(before + bytes.size() / sizeof(Value));
    std::memcpy(values.data() + before, bytes.data(), bytes.size());
  });
  return values;
}

void check_weight(const storage::StoredTensor& weight, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  expect(shape.empty() || weight.info().shape == shape, "a weight of another shape");
  const storage::ValueRange all{.first = 0, .count = count};
  const auto numbers = written<float>([&](const storage::Append& append) {
    storage::append_values(weight, all, DataType::kF32, append);
  });
  expect(numbers.size() == static_cast<size_t>(count), "another number of values");
  for (const float number : numbers) expect(std::isfinite(number), "a value that is not finite");
  if (shape.size() != 2) return;
  const auto integers = written<int8_t>(
      [&](const storage::Append& append) { storage::append_int8(weight, all, append); });
  const storage::ValueRange end{.first = shape[1], .count = count - shape[1]};
  const auto rest = written<int8_t>(
      [&](const storage::Append& append) { storage::append_int8(weight, end, append); });
  expect(std::equal(rest.begin(), rest.end(), integers.begin() + shape[1]), "rows that differ");
  const auto scales = written<std::byte>(
      [&](const storage::Append& append) { storage::append_int8_scales(weight, all, append); });
  const int64_t scale_bytes = storage::data_type_bytes(storage::int8_scale_type(weight));
  expect(scales.size() == static_cast<size_t>(shape[0] * scale_bytes), "another number of scales");
  if (weight.info().type == DataType::kI8) {
    expect(
        weight.scale_file->tensor(weight.scale_name()).shape == std::vector{shape[0], int64_t{1}},
        "scales of another shape");
    const std::vector<float> stored = storage::read_scales(weight, 0, shape[0]);
    for (int64_t i = 0; i < count; ++i) {
      const float scale = stored[static_cast<size_t>(i / shape[1])];
      expect(scale >= 0, "a negative scale");
      const auto place = static_cast<size_t>(i);
      expect(scale * static_cast<float>(integers[place]) == numbers[place], "another product");
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    BFloat16 scale;
    std::memcpy(&scale, scales.data() + i / shape[1] * scale_bytes, sizeof(scale));
    const double again = double{to_float(scale)} * integers[static_cast<size_t>(i)];
    expect(std::fabs(again - double{numbers[static_cast<size_t>(i)]}) <= to_float(scale) / 2,
           "a value that is off by more than half a scale");
  }
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  MemoryFiles files;
  files.put("model/model.safetensors", text_of(data, size));
  for (const bool has_int8 : {false, true}) {
    model::ModelConfig config;
    config.has_int8_matrices = has_int8;
    accepts("model/model.safetensors", [&] {
      const auto weights = model::StoredWeights::open(files, "model", config);
      for (const auto& [name, shape] : kWeights) {
        const auto weight = weights.find(name, shape);
        if (weight) check_weight(*weight, shape);
      }
      for (const std::string& name : weights.names()) weights.has_scales(name);
    });
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  return give(with_header_mutated(text_of(data, size), max_size, random), data, max_size);
}
