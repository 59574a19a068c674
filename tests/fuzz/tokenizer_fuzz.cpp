// Files of a tokenizer: what loads gives texts back and never makes a special token of text.
//
// An input is tokenizer.json, or after a byte 0xFF vocab.json, merges.txt, tokenizer_config.json
// and added_tokens.json, each behind another 0xFF.

#include <vector>

#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/slow_encoder.h"
#include "tests/fuzz/tokenizer_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr char kBorder = '\xFF';

constexpr size_t kMaxParts = 6;

std::vector<std::string> parts_of(std::string_view input) {
  std::vector<std::string> parts;
  size_t border = input.find(kBorder);
  while (border != std::string_view::npos && parts.size() + 1 < kMaxParts) {
    parts.emplace_back(input.substr(0, border));
    input.remove_prefix(border + 1);
    border = input.find(kBorder);
  }
  parts.emplace_back(input);
  return parts;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string input = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) input += kBorder + parts[i];
  return input;
}

/// A text that has the bytes of special tokens and of those that merges make.
std::string text_for(const text::TokenizerFiles& files) {
  constexpr size_t kMostOfEach = 1000;
  std::string text = "Hello  world's \n\n 12 x\xCC\x81 \xE4\xBD\xA0!";
  size_t most = text.size() + kMostOfEach;
  for (const auto& [content, id] : files.special) {
    if (text.size() < most) text += content;
  }
  most = text.size() + kMostOfEach;
  for (auto merge = files.merges.rbegin(); merge != files.merges.rend(); ++merge) {
    if (text.size() >= most) break;
    const std::string token = files.tokens[static_cast<size_t>(merge->first)] +
                              files.tokens[static_cast<size_t>(merge->second)];
    if (!text::find_invalid_utf8(token)) text += '\n' + token;
  }
  return text;
}

void check_special(const text::Tokenizer& tokenizer, const text::TokenizerFiles& files) {
  for (const auto& [content, id] : files.special) {
    expect(tokenizer.is_special(id), "a special token that is none", content);
    expect(tokenizer.special_id(content) == id, "another id of a special token", content);
    expect(tokenizer.token_bytes(id) == content, "a special token with other bytes", content);
  }
}

void check_tokenizer(FileSystem& files) {
  const auto tokenizer = text::Tokenizer::load(files, "model");
  const text::TokenizerFiles read = text::read_tokenizer_files(files, "model");
  check_special(*tokenizer, read);
  const std::string text = text_for(read);
  const auto ids = tokenizer->encode(text);
  for (const int32_t id : ids) {
    expect(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
    expect(!tokenizer->is_special(id), "text became a special token", tokenizer->token_bytes(id));
  }
  const text::Normalized normalized =
      read.normalizes_nfc ? text::normalize_nfc(text) : text::Normalized{};
  const std::string& normal = normalized.is_unchanged ? text : normalized.text;
  expect(tokenizer->decode(ids) == normal, "another text after encoding and decoding");
  expect(SlowEncoder(read).encode(normal) == ids, "other ids than the definition gives");
  expect(tokenizer->encode_with_offsets(text).ids == ids, "other ids with offsets");
  const auto with_special = tokenizer->encode_with_special(text);
  expect(read.normalizes_nfc || tokenizer->decode(with_special) == text,
         "another text with special tokens");
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
  const std::string input = text_of(data, size);
  if (chance(random, 4)) {
    return give(with_text_mutated(input, "{}[],:\n", max_size, random), data, max_size);
  }
  std::vector<std::string> parts = parts_of(input);
  if (chance(random, 2)) {
    std::string& part = parts[random() % parts.size()];
    part = with_json_mutated(part, max_size, random);
  } else if (parts.size() >= 5) {
    change_tokenizer_files(parts[1], parts[2], parts[4], random);
  } else {
    const std::string changed = with_tokenizer_changed(parts[0], random);
    if (!changed.empty()) parts[0] = changed;
  }
  const std::string after = joined(parts);
  return after.size() > max_size ? LLVMFuzzerMutate(data, size, max_size)
                                 : give(after, data, max_size);
}
