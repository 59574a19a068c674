// Token files of training, whose digest may be right whatever they hold.

#include <array>
#include <cstring>

#include "msa/samples/token_store.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr size_t kDigestOffset = 56;  // in the header, behind all that it covers of it
constexpr size_t kHeaderBytes = 72;

/// The file with the digest of what it holds.
std::string with_digest(std::string file) {
  if (file.size() < kHeaderBytes) return file;
  const auto bytes = std::as_bytes(std::span(file));
  storage::Digester digester;
  digester.add(bytes.first(kDigestOffset));
  digester.add(bytes.subspan(kHeaderBytes));
  const storage::Digest digest = digester.finish();
  std::memcpy(file.data() + kDigestOffset, digest.data(), digest.size());
  return file;
}

/// The file with other sizes in its header, of which the last makes their sum right, also where it
/// overflows.
std::string with_sizes(std::string file, Random& random) {
  constexpr size_t kPassages = 32;  // where the numbers stand
  constexpr size_t kTokens = 40;
  constexpr size_t kCharacters = 48;
  if (file.size() < kHeaderBytes) return file;
  if (chance(random, 2)) file.replace(kPassages, 8, number_bytes(random() % 16));
  const uint64_t passages = load_number(std::string_view(file).substr(kPassages));
  const uint64_t left = file.size() - kHeaderBytes - passages * sizeof(samples::PassageRecord);
  const uint64_t tokens = chance(random, 2) ? left + random() % 64 : 2 * (random() % 64);
  file.replace(kTokens, 8, number_bytes(tokens));
  file.replace(kCharacters, 8, number_bytes(left - tokens));
  return file;
}

void check_store(FileSystem& files, const std::string& name) {
  using namespace samples;
  const auto store = TokenStore::open(files, name, {});
  std::vector<int32_t> tokens;
  size_t num_characters = 0;
  for (int64_t passage = 0; passage < store->size(); ++passage) {
    num_characters +=
        store->name(passage).size() + store->title(passage).size() + store->text(passage).size();
    for (const Title title : {Title::kShown, Title::kHidden}) {
      for (const Frame frame : {Frame::kDocument, Frame::kAppended}) {
        tokens.clear();
        store->append(passage, title, frame, tokens);
        expect(static_cast<int64_t>(tokens.size()) == store->num_tokens(passage, title, frame),
               "another number of tokens");
      }
    }
  }
  expect(num_characters <= store->num_bytes(), "more characters than bytes");
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  MemoryFiles files;
  const std::string name = "a.tokens";
  files.put(name, text_of(data, size));
  accepts(name, [&] { check_store(files, name); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa;
  using namespace msa::fuzz;
  Random random(seed);
  std::string file = text_of(data, size);
  file =
      chance(random, 4) ? with_sizes(std::move(file), random) : mutated(std::move(file), max_size);
  if (!chance(random, 8)) file = with_digest(std::move(file));
  return give(file, data, max_size);
}
