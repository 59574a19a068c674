// Ids and offsets against those of the Hugging Face tokenizers library.

#include "msa/text/tokenizer.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <ctime>
#include <filesystem>
#include <random>
#include <set>
#include <sstream>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/test_paths.h"
#include "msa/text/unicode.h"
#include "msa/text/unicode_tables.h"

namespace msa::text {
namespace {

const std::filesystem::path kData = source_folder() / "tests/data/tokenizer";

const Tokenizer& tokenizer(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> loaded;
  auto& entry = loaded[name];
  if (!entry) entry = Tokenizer::load(real_file_system(), kData / name);
  return *entry;
}

std::vector<Json> lines(const std::string& file) {
  std::istringstream text(read_file(real_file_system(), kData / file, uint64_t{1} << 30));
  std::vector<Json> values;
  for (std::string line; std::getline(text, line);) values.push_back(parse_json(line, file));
  return values;
}

void expect_ids(const std::string& name, const std::string& file, size_t at_least) {
  const auto all = lines(file);
  EXPECT_GE(all.size(), at_least);
  for (const Json& line : all) {
    const auto text = line.at("text").get<std::string>();
    const auto ids = tokenizer(name).encode(text);
    EXPECT_EQ(ids, line.at("ids").get<std::vector<int32_t>>()) << text;
    if (name == "gpt2") {
      EXPECT_EQ(tokenizer(name).decode(ids), text);
    }
  }
}

TEST(Tokenizer, GivesTheIdsOfEveryVectorOfBothVocabularies) {
  expect_ids("qwen2", "qwen2/vectors.jsonl", 43);
  expect_ids("gpt2", "gpt2/vectors.jsonl", 43);
}

TEST(Tokenizer, GivesTheIdsOfRandomStrings) {
  expect_ids("qwen2", "golden/qwen2_strings.jsonl", 2000);
  expect_ids("gpt2", "golden/gpt2_strings.jsonl", 400);
}

TEST(Tokenizer, GivesTheIdsOfPassages) { expect_ids("qwen2", "golden/qwen2_passages.jsonl", 300); }

TEST(Tokenizer, ComposesCharactersAsTheLibraryDoes) {
  expect_ids("qwen2", "golden/qwen2_nfc.jsonl", 200);
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_, EVP_sha256(), nullptr); }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(const std::vector<int32_t>& ids) {
    const auto count = static_cast<uint32_t>(ids.size());
    EVP_DigestUpdate(context_, &count, 4);
    EVP_DigestUpdate(context_, ids.data(), 4 * ids.size());
  }
  std::string first_16_digits() {
    unsigned char bytes[32];
    EVP_DigestFinal_ex(context_, bytes, nullptr);
    std::string hex;
    for (int i = 0; i < 8; ++i) {
      char part[3];
      std::snprintf(part, sizeof part, "%02x", bytes[i]);
      hex += part;
    }
    return hex;
  }

 private:
  EVP_MD_CTX* context_;
};

std::string utf8(char32_t c) {
  std::string text;
  append_utf8(c, text);
  return text;
}

TEST(Tokenizer, GivesTheIdsOfEveryCodePointInThreeContexts) {
  const Json wanted = parse_json(
      read_file(real_file_system(), kData / "golden/qwen2_scalar_values.json", 1 << 30), "digests");
  int64_t code_points = 0;
  for (const auto& [key, digest] : wanted.items()) {
    const auto first = static_cast<char32_t>(std::stoul(key, nullptr, 16));
    Sha256 sha;
    for (char32_t c = first; c < first + 256; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      ++code_points;
      for (const std::string& text : {utf8(c), "a" + utf8(c) + "b", " " + utf8(c) + " "}) {
        sha.add(tokenizer("qwen2").encode(text));
      }
    }
    EXPECT_EQ(sha.first_16_digits(), digest.get<std::string>()) << "block " << key;
  }
  EXPECT_EQ(code_points, 1'112'064);
}

TEST(Tokenizer, GivesTheIdsOfDecomposedCharacters) {
  const Json wanted = parse_json(
      read_file(real_file_system(), kData / "golden/qwen2_decomposed.json", 1 << 20), "digests");
  std::map<char32_t, std::string> decomposed{
      {0x11938, utf8(0x11935) + utf8(0x11930)}};  // of Unicode 13
  for (const auto& entry : std::span(kDecompositions, kNumDecompositions)) {
    std::string& text = decomposed[entry.code_point];
    for (uint32_t i = 0; i < entry.length; ++i) text += utf8(entry.parts[i]);
  }
  for (char32_t index = 0; index < 11172; ++index) {
    std::string& text = decomposed[0xAC00 + index];
    text = utf8(0x1100 + index / 588) + utf8(0x1161 + index % 588 / 28);
    if (index % 28 != 0) text += utf8(0x11A7 + index % 28);
  }
  int64_t characters = 0;
  for (const auto& [key, digest] : wanted.items()) {
    const auto first = static_cast<char32_t>(std::stoul(key, nullptr, 16));
    Sha256 sha;
    for (auto c = decomposed.lower_bound(first); c != decomposed.end() && c->first < first + 256;
         ++c) {
      sha.add(tokenizer("qwen2").encode(c->second));
      ++characters;
    }
    EXPECT_EQ(sha.first_16_digits(), digest.get<std::string>()) << "block " << key;
  }
  EXPECT_EQ(characters, static_cast<int64_t>(decomposed.size()));
}

TEST(Tokenizer, OffsetsAreBytesOfTheOriginalText) {
  for (const Json& line : lines("golden/qwen2_offsets.jsonl")) {
    const auto text = line.at("text").get<std::string>();
    const Encoding encoding = tokenizer("qwen2").encode_with_offsets(text);
    EXPECT_EQ(encoding.ids, line.at("ids").get<std::vector<int32_t>>());
    std::vector<std::pair<int64_t, int64_t>> wanted;
    for (const Json& pair : line.at("offsets")) wanted.emplace_back(pair[0], pair[1]);
    EXPECT_EQ(encoding.offsets, wanted) << text;
  }
}

TEST(Tokenizer, KnowsSpecialTokensOnlyWhereTheCallerSaysSo) {
  const Tokenizer& qwen2 = tokenizer("qwen2");
  std::set<int32_t> special;
  for (const char* content : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
    special.insert(*qwen2.special_id(content));
  }
  for (const Json& line : lines("golden/qwen2_special.jsonl")) {
    const auto text = line.at("text").get<std::string>();
    EXPECT_EQ(qwen2.encode_with_special(text), line.at("ids").get<std::vector<int32_t>>()) << text;
    for (const int32_t id : qwen2.encode(text)) EXPECT_FALSE(special.contains(id)) << text;
  }
}

TEST(Tokenizer, NoRandomTextEverGivesASpecialToken) {
  const Tokenizer& qwen2 = tokenizer("qwen2");
  const int32_t lowest = *qwen2.special_id("<|endoftext|>");
  const std::vector<std::string> pieces{"<|im_start|>",
                                        "<|im_end|>",
                                        "<|endoftext|>",
                                        "<|",
                                        "|>",
                                        "im_end",
                                        "[7]",
                                        "<End-of-Retrieve>",
                                        " ",
                                        "\n",
                                        "a",
                                        "\xC3\xA9",
                                        "e\xCC\x81",
                                        "\xF0\x9F\x98\x80"};
  std::mt19937 random(17);
  for (int round = 0; round < 20'000; ++round) {
    std::string text;
    for (uint32_t n = random() % 8; n > 0; --n) text += pieces[random() % pieces.size()];
    const auto ids = qwen2.encode(text);
    for (const int32_t id : ids) ASSERT_LT(id, lowest) << text;
    const Normalized normalized = normalize_nfc(text);
    ASSERT_EQ(qwen2.decode(ids), normalized.is_unchanged ? text : normalized.text);
  }
}

TEST(Tokenizer, OffsetsRiseAndCoverEveryByteOfTextThatIsNormal) {
  std::mt19937 random(23);
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (uint32_t n = random() % 30; n > 0; --n) {
      static constexpr char32_t kFirst[] = {0x20,   0x61,    0xC0, 0x300, 0x4E00,
                                            0xAC00, 0x1F600, 0x0A, 0x1100};
      text += utf8(kFirst[random() % std::size(kFirst)] + random() % 20);
    }
    const Encoding encoding = tokenizer("qwen2").encode_with_offsets(text);
    const bool is_unchanged = normalize_nfc(text).is_unchanged;
    int64_t covered = 0;
    int64_t before = 0;
    for (const auto& [first, end] : encoding.offsets) {
      ASSERT_LE(before, first) << text;
      ASSERT_LT(first, end);
      if (is_unchanged) {
        ASSERT_LE(first, covered) << text;
      }
      ASSERT_LE(end, static_cast<int64_t>(text.size()));
      covered = std::max(covered, end);
      before = first;
    }
    if (is_unchanged) {
      ASSERT_EQ(covered, static_cast<int64_t>(text.size()));
    }
  }
}

TEST(Tokenizer, InvalidUtf8IsRefusedWithItsPlace) {
  for (const auto& [text, place] : {std::pair<std::string, int>{"ab\xFF", 2},
                                    {"\xC0\x80", 0},
                                    {"x\xED\xA0\x80", 1},
                                    {"\xF4\x90\x80\x80", 0},
                                    {"ok \xE4\xB8", 3}}) {
    EXPECT_EQ(find_invalid_utf8(text), static_cast<size_t>(place));
    try {
      tokenizer("qwen2").encode(text);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_NE(std::string(error.what()).find("byte " + std::to_string(place)), std::string::npos);
    }
  }
}

TEST(Tokenizer, AWordOfAMegabyteTakesNoQuadraticTime) {
  std::string word;
  std::mt19937 random(29);
  while (word.size() < 1'000'000) word += static_cast<char>('a' + random() % 26);
  const std::clock_t start = std::clock();  // of this process, whatever else runs
  const auto ids = tokenizer("qwen2").encode(word);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_EQ(tokenizer("qwen2").decode(ids), word);
  EXPECT_LT(seconds, 60.0);  // quadratic time would be hours
}

TEST(Tokenizer, ShortAndLongPiecesMergeAlike) {
  // One piece of letters at every length around the border between the two ways of merging.
  const Tokenizer& gpt2 = tokenizer("gpt2");
  std::mt19937 random(31);
  for (int round = 0; round < 300; ++round) {
    std::string word;
    for (int i = 0; i < 47; ++i) word += "etaoinshr"[random() % 9];
    const auto short_ids = gpt2.encode(word);
    // The same letters behind a long piece that they cannot merge with: a digit run splits pieces.
    const auto long_ids = gpt2.encode(word + std::string(60, 'q'));
    EXPECT_EQ(gpt2.decode(short_ids), word);
    EXPECT_EQ(gpt2.decode(long_ids), word + std::string(60, 'q'));
  }
}

}  // namespace
}  // namespace msa::text
