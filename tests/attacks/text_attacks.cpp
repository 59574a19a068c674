#include <zstd.h>

#include "msa/base/json.h"
#include "msa/corpus/document_reader.h"
#include "msa/text/tokenizer.h"
#include "tests/attacks/attack.h"

namespace msa::attacks {
namespace {

void add_json(std::vector<Attack>& attacks) {
  const Reader read = [](const auto& path) {
    parse_json(read_file(real_file_system(), path, 64 * kMebibyte), path.string());
  };
  const auto add = [&](const std::string& name, const std::string& bytes, const std::string& says,
                       ErrorCode code = ErrorCode::kInvalidFormat) {
    attacks.push_back({name, "config.json", bytes, read, code, says});
  };
  add("JsonOfAMillionLevels", std::string(kMebibyte, '['), "nested deeper", ErrorCode::kLimit);
  std::string numbers = "[0";
  while (numbers.size() < size_t{20 * kMebibyte}) numbers += ",0";
  add("JsonOfMillionsOfNumbers", numbers + "]", "more than 4194304 values", ErrorCode::kLimit);
  add("JsonWithAKeyTwice", R"({"a":1,"\u0061":2})", "stands twice");
  add("JsonWithANumberBeyondAll", R"({"a":1e999})", "not JSON at byte");
  add("JsonWithHalfACharacter", R"({"a":"\ud800"})", "not JSON at byte");
}

/// A vocabulary of one token a byte and "ab", with one thing changed.
std::string tokenizer_json(const std::string& vocab, const std::string& merges,
                           const std::string& added = "[]",
                           const std::string& pre_tokenizer = R"({"type":"ByteLevel"})",
                           const std::string& model = "") {
  std::string bytes;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    char spelling[16];
    std::snprintf(spelling, sizeof spelling, "\"\\u%04x\":", is_printable ? byte : next++);
    bytes += (byte > 0 ? "," : "") + std::string(spelling) + std::to_string(byte);
  }
  return R"({"added_tokens":)" + added + R"(,"pre_tokenizer":)" + pre_tokenizer +
         R"(,"model":{"type":"BPE",)" + model + R"("vocab":{)" + bytes + vocab + R"(},"merges":)" +
         merges + "}}";
}

void add_tokenizers(std::vector<Attack>& attacks) {
  const Reader read = [](const std::filesystem::path& path) {
    try {
      text::Tokenizer::load(real_file_system(), path.parent_path());
    } catch (const Error& error) {
      // Of what several of its parts do together the folder is named.
      throw Error(error.code(), path.filename().string(), " of ", error.what());
    }
  };
  const auto add = [&](const std::string& name, const std::string& bytes, const std::string& says,
                       ErrorCode code = ErrorCode::kInvalidFormat) {
    attacks.push_back({name, "tokenizer.json", bytes, read, code, says});
  };
  const std::string ab = R"(,"ab":256)";
  add("MergeOfUnknownTokens", tokenizer_json(ab, R"(["a xyz"])"), "which is no token");
  add("MergeThatGivesNoToken", tokenizer_json(ab, R"(["b a"])"), "gives no token");
  add("MergeOfThree", tokenizer_json(ab, R"(["a b c"])"), "must be two tokens");
  add("IdOfTwoToThe31", tokenizer_json(R"(,"ab":2147483648)", "[]"), "an id below");
  add("IdOfTwoTokens", tokenizer_json(R"(,"ab":97)", "[]"), "two tokens");
  add("IdOfNoToken", tokenizer_json(R"(,"ab":257,"abc":258)", "[]"), "an id below");
  add("SpecialTokenThatTextMakes",
      tokenizer_json(ab, R"(["a b"])", R"([{"content":"ab","id":256}])"), "gives no token");
  add("SpecialTokenOfOneLetter", tokenizer_json(ab, "[]", R"([{"content":"a","id":97}])"),
      "no token for the byte 97");
  add("SpecialTokenOfTwoIds", tokenizer_json(ab, "[]", R"([{"content":"ab","id":1}])"), "two ids");
  add("SplitPatternThatBacktracksForEver",
      tokenizer_json(ab, "[]", "[]",
                     R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":)"
                     R"({"Regex":"(a+)+$"},"behavior":"Isolated","invert":false},)"
                     R"({"type":"ByteLevel","use_regex":false}]})"),
      "pattern is not supported");
  add("TokenizerThatDrops",
      tokenizer_json(ab, "[]", "[]", R"({"type":"ByteLevel"})", R"("dropout":0.1,)"), "dropout");
  add("TokenizerWithoutBytes",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
      "no token for the byte 0");
  add("TokenizerLargerThanAllowed", std::string(64 * kMebibyte + 1, ' '), "at most",
      ErrorCode::kLimit);
}

std::string compressed(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

/// Frames one behind the other decode to their texts joined.
std::string bomb(const std::string& front, int64_t megabytes) {
  const std::string frame = compressed(std::string(kMebibyte, ' '));
  std::string bytes = compressed(front);
  for (int64_t n = 0; n < megabytes; ++n) bytes += frame;
  return bytes;
}

/// The first problem of a file of documents, as an Error.
void read_documents(const std::filesystem::path& path) {
  std::string problem;
  corpus::DocumentReader reader(real_file_system(), {path}, [&](const corpus::InputProblem& found) {
    if (problem.empty()) problem = found.file + " " + found.what;
  });
  corpus::SourceDocument document;
  while (reader.next(document)) {
  }
  if (!problem.empty()) throw Error(ErrorCode::kInvalidFormat, problem);
}

void add_documents(std::vector<Attack>& attacks) {
  const auto add = [&](const std::string& name, const std::string& file, const std::string& bytes,
                       const std::string& says, int64_t max_memory = 64 * kMebibyte) {
    attacks.push_back(
        {name, file, bytes, read_documents, ErrorCode::kInvalidFormat, says, max_memory});
  };
  const std::string text = R"({"text":"a"})"
                           "\n";
  const std::string packed = compressed(text);
  // A line or a text may be of 64 MiB, in memory that doubles as it grows.
  constexpr int64_t kOfALine = 4 * 64 * kMebibyte;
  add("LineLongerThanAllowed", "a.jsonl", std::string(65 * kMebibyte, 'x') + "\n" + text,
      "longer than", kOfALine);
  add("TextLongerThanAllowed", "a.txt", std::string(65 * kMebibyte, 'x'), "longer than", kOfALine);
  add("SmallFileOfALongText", "a.txt.zst", bomb("", 500), "longer than", kOfALine);
  add("SmallFileOfALongLine", "a.jsonl.zst", bomb("{", 1000), "bytes of text for a byte", kOfALine);
  add("CompressedFileCut", "a.jsonl.zst", packed.substr(0, packed.size() - 1), "ends too early");
  add("CompressedFileOfNoise", "a.txt.zst", text, "damaged zstd data");
  // A frame of one stored byte and a window of 2^28.
  add("WindowWiderThanAllowed", "a.txt.zst", std::string("\x28\xB5\x2F\xFD\0\x90\x09\0\0x", 10),
      "damaged zstd data");
  add("LineOfAMillionLevels", "a.jsonl", std::string(kMebibyte, '[') + "\n", "nested deeper");
  add("LineThatIsNotUtf8", "a.jsonl", "{\"text\":\"\xff\"}\n", "not UTF-8");
  add("LineWithAZeroByte", "a.jsonl", std::string("{\"text\":\"a\"}\0{\"text\":\"b\"}\n", 26),
      "a zero byte");
  add("LineWithTwoTexts", "a.jsonl", R"({"text":"a","text":"b"})", "stands twice");
  add("TextOfBlanks", "a.md", std::string(kMebibyte, ' '), "empty");
  attacks.push_back({"QuestionThatIsNone", "q.jsonl",
                     R"({"question":"a"})"
                     "\n"
                     R"({"question":7})",
                     [](const auto& path) { corpus::read_questions(real_file_system(), path); },
                     ErrorCode::kInvalidFormat, "line 2"});
}

}  // namespace

std::vector<Attack> text_attacks() {
  std::vector<Attack> attacks;
  add_json(attacks);
  add_tokenizers(attacks);
  add_documents(attacks);
  return attacks;
}

}  // namespace msa::attacks
