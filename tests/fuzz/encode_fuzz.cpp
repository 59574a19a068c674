// Any text through the tokenizer, as Qwen and as GPT-2 split it: compared with byte pair encoding
// as its definition has it, decoded again, and cut into passages.

#include <algorithm>
#include <map>

#include "msa/corpus/passage_splitter.h"
#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

/// Merges pair by pair, the one of the lowest rank first, the leftmost of equals.
class SlowEncoder {
 public:
  explicit SlowEncoder(const text::TokenizerFiles& files) : split_(files.split) {
    std::map<std::string, int32_t> id_of;
    for (size_t id = 0; id < files.tokens.size(); ++id) {
      id_of.emplace(files.tokens[id], static_cast<int32_t>(id));
    }
    for (int byte = 0; byte < 256; ++byte) {
      byte_ids_.push_back(id_of.at(std::string(1, static_cast<char>(byte))));
    }
    int32_t rank = 0;
    for (const auto& [first, second] : files.merges) {
      const std::string joined =
          files.tokens[static_cast<size_t>(first)] + files.tokens[static_cast<size_t>(second)];
      merges_[{first, second}] = {rank++, id_of.at(joined)};
    }
  }

  std::vector<int32_t> encode(std::string_view text) const {
    std::vector<int32_t> ids;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text::end_of_piece(split_, text, begin);
      expect(end > begin && end <= text.size(), "a piece without an end");
      const auto piece = encode_piece(text.substr(begin, end - begin));
      ids.insert(ids.end(), piece.begin(), piece.end());
      begin = end;
    }
    return ids;
  }

 private:
  std::vector<int32_t> encode_piece(std::string_view piece) const {
    std::vector<int32_t> ids;
    for (const char c : piece) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    for (;;) {
      std::pair<int32_t, int32_t> best{0, 0};
      size_t place = ids.size();
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = merges_.find({ids[i], ids[i + 1]});
        if (found == merges_.end()) continue;
        if (place < ids.size() && found->second.first >= best.first) continue;
        best = found->second;
        place = i;
      }
      if (place == ids.size()) return ids;
      ids[place] = best.second;
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(place) + 1);
    }
  }

  text::SplitRule split_;
  std::vector<int32_t> byte_ids_;
  std::map<std::pair<int32_t, int32_t>, std::pair<int32_t, int32_t>> merges_;
};

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
  const auto folder = std::filesystem::path(MSA_SOURCE_DIR) / "tests/data/golden/tiny-msa";
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
