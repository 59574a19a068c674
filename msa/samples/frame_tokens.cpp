#include "msa/samples/frame_tokens.h"

#include <optional>
#include <string>

#include "msa/base/error.h"
#include "msa/corpus/passage_text.h"
#include "msa/text/unicode.h"

namespace msa::samples {
namespace {

constexpr size_t kShown = static_cast<size_t>(Title::kShown);
constexpr size_t kHidden = static_cast<size_t>(Title::kHidden);
constexpr size_t kDocument = static_cast<size_t>(Frame::kDocument);
constexpr size_t kAppended = static_cast<size_t>(Frame::kAppended);

/// A letter before `place` that composition leaves as it is.
bool is_behind_letter(std::string_view text, size_t place) {
  size_t begin = place - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return text::class_of(text::decode_utf8(text, begin).code_point) ==
             text::CharacterClass::kLetter &&
         text::normalize_nfc(text.substr(begin, place - begin)).is_unchanged;
}

/// Blanks and marks that compose with no letter.
bool is_before_mark(std::string_view text, size_t place) {
  const auto byte = static_cast<unsigned char>(text[place]);
  if (byte >= 0x80) {
    const std::string_view rest = text.substr(place);
    return rest.starts_with("\u3001") || rest.starts_with("\u3002") || rest.starts_with("\uff0c");
  }
  const auto kind = text::class_of(byte);
  return kind != text::CharacterClass::kLetter && kind != text::CharacterClass::kNumber;
}

/// Between a letter and a mark or blank a piece of the tokenizer ends, whatever stands around: both
/// parts have the tokens there that the whole has.
bool is_joint(std::string_view text, size_t place) {
  return is_before_mark(text, place) && is_behind_letter(text, place);
}

std::optional<size_t> first_joint(std::string_view text) {
  for (size_t i = 1; i < text.size(); ++i) {
    if (is_joint(text, i)) return i;
  }
  return std::nullopt;
}

size_t last_joint(std::string_view text, size_t first) {
  size_t i = text.size() - 1;
  while (i > first && !is_joint(text, i)) --i;
  return i;
}

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw Error(ErrorCode::kInvalidArgument, "the tokenizer does not fit training: ", why, " in \"",
              text, "\"");
}

}  // namespace

FrameEncoder::FrameEncoder(const text::PromptLayout& layout) : layout_(layout) {
  const auto single = [&](char c) {
    const std::vector<int32_t> ids = layout.tokenizer().encode(std::string(1, c));
    if (ids.size() != 1) refuse(std::string(1, c), "more than one token");
    return ids.front();
  };
  open_ = single('[');
  close_ = single(']');
  for (int d = 0; d < 10; ++d) digits_[static_cast<size_t>(d)] = single(static_cast<char>('0' + d));
  for (int number = 0; number < 1000; ++number) {
    const std::string text = std::to_string(number);
    std::vector<int32_t> by_digits;
    add_id(number, by_digits);
    if (layout.tokenizer().encode(text) != by_digits) refuse(text, "a number is not its digits");
  }
  // Whatever may stand next to a bracket.
  for (char c = ' '; c <= '~'; ++c) {
    const std::string mark(1, c);
    expect_layout("", mark + "x" + mark);
    expect_layout(mark + "a" + mark, mark + "x, y" + mark);
  }
  for (const std::string mark :
       {"\n", "\t", "...", "\u00e9", "\u4e2d", "\u3002", "\u0301", "\u0661"}) {
    expect_layout("", mark + "x" + mark);
    expect_layout(mark + "a" + mark, mark + "x, y" + mark);
  }
}

void FrameEncoder::expect_layout(std::string_view title, std::string_view passage) const {
  const FrameTokens frames = encode(title, passage);
  for (const auto shown : {Title::kShown, Title::kHidden}) {
    const std::string text =
        shown == Title::kShown ? corpus::passage_text(title, passage) : std::string(passage);
    for (const int64_t id : {int64_t{0}, int64_t{12}, int64_t{1029384756}}) {
      for (const auto frame : {Frame::kDocument, Frame::kAppended}) {
        std::vector<int32_t> tokens;
        open(frame, id, tokens);
        for (const auto* part : {&frames.head(shown), &frames.body, &frames.tail(shown, frame)}) {
          tokens.insert(tokens.end(), part->begin(), part->end());
        }
        close(frame, id, tokens);
        const std::vector<text::AppendedText> appended{{.id = id, .text = text}};
        if (frame == Frame::kAppended) tokens.push_back(layout_.ids_end_token());
        if (tokens != (frame == Frame::kDocument ? layout_.document(id, text).tokens
                                                 : layout_.appended_texts(appended).tokens)) {
          refuse("[" + std::to_string(id) + "]. " + text,
                 "an id or its brackets join what is next");
        }
      }
    }
  }
}

/// Tokens of "]. text[": those of a document without its ids.
std::vector<int32_t> FrameEncoder::between_ids(std::string_view text) const {
  std::string whole = "[0]. ";
  whole += text;
  whole += "[0]";
  std::vector<int32_t> tokens = layout_.tokenizer().encode(whole);
  if (tokens.size() < 5 || tokens[0] != open_ || tokens[1] != digits_[0] ||
      tokens[tokens.size() - 2] != digits_[0] || tokens.back() != close_) {
    refuse(whole, "an id or its brackets join what is next");
  }
  return {tokens.begin() + 2, tokens.end() - 2};
}

/// Tokens of "text[".
std::vector<int32_t> FrameEncoder::before_id(std::string_view text) const {
  std::string whole(text);
  whole += "[0]";
  std::vector<int32_t> tokens = layout_.tokenizer().encode(whole);
  if (tokens.size() < 3 || tokens[tokens.size() - 2] != digits_[0] || tokens.back() != close_) {
    refuse(whole, "an id or its brackets join what is next");
  }
  tokens.resize(tokens.size() - 2);
  return tokens;
}

/// Tokens of "]. text".
std::vector<int32_t> FrameEncoder::after_id(std::string_view text) const {
  std::string whole = "[0]. ";
  whole += text;
  std::vector<int32_t> tokens = layout_.tokenizer().encode(whole);
  if (tokens.size() < 3 || tokens[0] != open_ || tokens[1] != digits_[0]) {
    refuse(whole, "an id or its brackets join what is next");
  }
  return {tokens.begin() + 2, tokens.end()};
}

FrameTokens FrameEncoder::encode_apart(std::string_view shown, std::string_view hidden) const {
  FrameTokens frames;
  for (const auto& [title, text] : {std::pair{kShown, shown}, std::pair{kHidden, hidden}}) {
    frames.tails[title][kDocument] = between_ids(text);
    frames.tails[title][kAppended] = after_id(std::string(text) + "\n");
  }
  frames.num_text_tokens = static_cast<int64_t>(layout_.tokenizer().encode(hidden).size());
  return frames;
}

FrameTokens FrameEncoder::encode(std::string_view title, std::string_view passage) const {
  MSA_CHECK(!passage.empty(), "a passage without text");
  const std::string shown = corpus::passage_text(title, passage);
  const auto first = first_joint(passage);
  if (!first) return encode_apart(shown, passage);
  const size_t last = last_joint(passage, *first);
  const std::string_view tail = passage.substr(last);
  const text::Tokenizer& tokenizer = layout_.tokenizer();
  FrameTokens frames;
  const size_t title_bytes = shown.size() - passage.size();
  frames.heads[kShown] = after_id(std::string_view(shown).substr(0, title_bytes + *first));
  frames.heads[kHidden] =
      title_bytes == 0 ? frames.heads[kShown] : after_id(passage.substr(0, *first));
  frames.body = tokenizer.encode(passage.substr(*first, last - *first));
  frames.tails[kShown][kDocument] = before_id(tail);
  frames.tails[kShown][kAppended] = tokenizer.encode(std::string(tail) + "\n");
  frames.tails[kHidden] = frames.tails[kShown];
  frames.num_text_tokens = static_cast<int64_t>(tokenizer.encode(passage.substr(0, *first)).size() +
                                                frames.body.size() + tokenizer.encode(tail).size());
  return frames;
}

void FrameEncoder::add_id(int64_t id, std::vector<int32_t>& tokens) const {
  MSA_CHECK(id >= 0, "a document's id must not be negative, got ", id);
  for (const char digit : std::to_string(id)) {
    tokens.push_back(digits_[static_cast<size_t>(digit - '0')]);
  }
}

void FrameEncoder::open(Frame frame, int64_t id, std::vector<int32_t>& tokens) const {
  if (frame == Frame::kDocument) tokens.push_back(layout_.start_token());
  tokens.push_back(open_);
  add_id(id, tokens);
}

void FrameEncoder::close(Frame frame, int64_t id, std::vector<int32_t>& tokens) const {
  if (frame == Frame::kAppended) return;
  add_id(id, tokens);
  tokens.push_back(close_);
  tokens.push_back(layout_.end_token());
}

}  // namespace msa::samples
