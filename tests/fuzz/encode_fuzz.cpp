// Any text through the tokenizer, as Qwen and as GPT-2 split it: compared with byte pair encoding
// as its definition has it, decoded again, and cut into passages.

#include <algorithm>

#include "msa/base/test_paths.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/slow_encoder.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

struct Case {
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<SlowEncoder> slow;
  bool normalizes_nfc = false;
};

Case load(FileSystem& files, const std::filesystem::path& folder) {
  const text::TokenizerFiles read = text::read_tokenizer_files(files, folder);
  return {.tokenizer = text::Tokenizer::load(files, folder),
          .slow = std::make_unique<SlowEncoder>(read),
          .normalizes_nfc = read.normalizes_nfc};
}

/// One vocabulary, split as Qwen does it and as GPT-2 does it.
std::vector<Case> load_both() {
  const auto folder = source_folder() / "tests/data/golden/tiny-msa";
  MemoryFiles files;
  for (const char* name : {"vocab.json", "merges.txt", "added_tokens.json"}) {
    files.put(std::filesystem::path("gpt2") / name,
              read_file(real_file_system(), folder / name, 1 << 20));
  }
  std::vector<Case> cases;
  cases.push_back(load(real_file_system(), folder));
  cases.push_back(load(files, "gpt2"));
  return cases;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> cases = load_both();
  return cases;
}

void check_offsets(const text::Encoding& encoding, const std::vector<int32_t>& ids,
                   std::string_view text) {
  expect(encoding.ids == ids && encoding.offsets.size() == ids.size(), "other ids with offsets");
  for (const auto& [first, end] : encoding.offsets) {
    expect(first >= 0 && first < end && end <= static_cast<int64_t>(text.size()),
           "a token outside the text");
  }
}

void check_passages(std::string_view text, const text::Tokenizer& tokenizer) {
  int64_t last = 0;
  for (const auto& [start, end] : corpus::split_passages(text, tokenizer, {.max_tokens = 8})) {
    expect(start >= last && start < end && end <= static_cast<int64_t>(text.size()),
           "passages overlap or are out of order");
    const auto passage = text.substr(static_cast<size_t>(start), static_cast<size_t>(end - start));
    expect(!text::find_invalid_utf8(passage), "a passage that begins or ends within a character");
    last = end;
  }
}

void check_text(const std::string& text, const Case& with) {
  const auto ids = with.tokenizer->encode(text);
  const text::Normalized normalized =
      with.normalizes_nfc ? text::normalize_nfc(text) : text::Normalized{};
  const std::string& normal = normalized.is_unchanged ? text : normalized.text;
  expect(text::normalize_nfc(normal).is_unchanged || !with.normalizes_nfc,
         "the normal form is not its own");
  expect(with.tokenizer->decode(ids) == normal, "another text after encoding and decoding");
  expect(std::ranges::none_of(ids, [&](int32_t id) { return with.tokenizer->is_special(id); }),
         "text became a special token");
  expect(with.slow->encode(normal) == ids, "other ids than the definition gives");
  check_offsets(with.tokenizer->encode_with_offsets(text), ids, text);
  check_passages(text, *with.tokenizer);
  with.tokenizer->encode_with_special(text);
}

/// Words one behind the other that begin and end with the same bytes but are of different lengths,
/// or differ at their ends: where words are kept, they must not be taken for each other.
std::string draw_similar_words(Random& random) {
  constexpr size_t kLongest = 16;
  const auto draw_letter = [&] { return static_cast<char>('a' + random() % 26); };
  std::string text;
  for (auto count = 1 + random() % 16; count > 0; --count) {
    const size_t period = 1 + random() % 8;
    const size_t shorter = (period <= 4 && chance(random, 2) ? 4 : 8) + random() % 4;
    std::string word;
    while (word.size() < period) word += draw_letter();
    while (word.size() < kLongest) word += word[word.size() - period];
    const size_t most = (kLongest - shorter) / period;
    std::string other = word.substr(0, shorter + random() % (most + 1) * period);
    if (chance(random, 2)) other[other.size() - 1 - random() % 3] = draw_letter();
    text += word.substr(0, shorter) + '\n' + other + '\n';
  }
  return text;
}

/// A word that is merged by another algorithm than short ones, of few letters: pairs that are equal
/// overlap.
std::string draw_long_word(Random& random) {
  const auto letters = 1 + random() % 3;
  const char first = chance(random, 2) ? 'a' : static_cast<char>('a' + random() % 24);
  std::string word(49 + random() % 80, '\0');
  for (char& letter : word)
    letter = static_cast<char>(first + static_cast<char>(random() % letters));
  return word;
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  msa::fuzz::cases();  // not within the time of the first input
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  const std::string text = text_of(data, size);
  for (const Case& with : cases()) {
    const bool is_taken = accepts("UTF-8", [&] { check_text(text, with); });
    expect(is_taken == !msa::text::find_invalid_utf8(text), "UTF-8 and other bytes mistaken");
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (chance(random, 4)) return give(draw_similar_words(random), data, max_size);
  if (chance(random, 16)) return give(draw_long_word(random), data, max_size);
  return give(with_text_mutated(text_of(data, size), " \n'", max_size, random), data, max_size);
}
