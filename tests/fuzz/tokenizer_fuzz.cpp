// Files of a tokenizer: what loads gives texts back and never makes a special token of text.
//
// An input is tokenizer.json, or after a byte 0xFF vocab.json, merges.txt, tokenizer_config.json
// and added_tokens.json, each behind another 0xFF.

#include <vector>

#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr char kBorder = '\xFF';

std::vector<std::string> parts_of(const std::string& input) {
  std::vector<std::string> parts(1);
  for (const char c : input) {
    if (c == kBorder && parts.size() < 6) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

void check_tokenizer(FileSystem& files) {
  const auto tokenizer = text::Tokenizer::load(files, "model");
  const text::TokenizerFiles read = text::read_tokenizer_files(files, "model");
  std::string texts = "Hello  world's \n\n 12 x\xCC\x81 \xE4\xBD\xA0!";
  for (const auto& [content, id] : read.special) {
    if (texts.size() < 1000) texts += content;
    expect(tokenizer->is_special(id), "a special token that is none", content);
  }
  const auto ids = tokenizer->encode(texts);
  for (const int32_t id : ids) {
    expect(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
    expect(!tokenizer->is_special(id), "text became a special token", tokenizer->token_bytes(id));
  }
  const text::Normalized normalized =
      read.normalizes_nfc ? text::normalize_nfc(texts) : text::Normalized{};
  expect(tokenizer->decode(ids) == (normalized.is_unchanged ? texts : normalized.text),
         "another text after encoding and decoding");
  tokenizer->encode_with_offsets(texts);
  tokenizer->encode_with_special(texts);
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  const std::vector<std::string> parts = parts_of(text_of(data, size));
  MemoryFiles files;
  if (parts.size() == 1) files.put("model/tokenizer.json", parts[0]);
  constexpr const char* kNames[] = {"model/vocab.json", "model/merges.txt",
                                    "model/tokenizer_config.json", "model/added_tokens.json"};
  for (size_t i = 1; i < parts.size() && i <= std::size(kNames); ++i) {
    if (!parts[i].empty()) files.put(kNames[i - 1], parts[i]);
  }
  accepts("model", [&] { check_tokenizer(files); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa;
  using namespace msa::fuzz;
  Random random(seed);
  return give(with_text_mutated(text_of(data, size), "{}[],:\n", max_size, random), data, max_size);
}
