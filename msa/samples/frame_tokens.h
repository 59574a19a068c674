#pragma once
// Tokens of a passage within the frames that the model reads it in, apart from its id.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// Whether the model reads the title with a passage, as corpus::passage_text has it.
enum class Title { kShown, kHidden };

/// kDocument: of the memory, PromptLayout::document. kAppended: one of
/// PromptLayout::appended_texts.
enum class Frame { kDocument, kAppended };

/// "]. text[" of a document and "]. text\n" of an appended text, with and without its title: each
/// is head + body + tail. Where no part is common to all four, the tails have everything.
struct FrameTokens {
  std::array<std::vector<int32_t>, 2> heads;                 // by Title
  std::vector<int32_t> body;                                 // of all
  std::array<std::array<std::vector<int32_t>, 2>, 2> tails;  // by Title, by Frame
  int64_t num_text_tokens = 0;                               // of the text by itself

  const std::vector<int32_t>& head(Title title) const { return heads[static_cast<size_t>(title)]; }
  const std::vector<int32_t>& tail(Title title, Frame frame) const {
    return tails[static_cast<size_t>(title)][static_cast<size_t>(frame)];
  }
};

/// Gives tokens that, with those of an id around them, are exactly the layout's. Borrowed layout;
/// may be used from several threads.
class FrameEncoder {
 public:
  /// Throws Error(kInvalidArgument) naming what was tried if the tokenizer does not write numbers
  /// digit by digit, or joins an id's brackets with what stands before or behind the id.
  explicit FrameEncoder(const text::PromptLayout& layout);

  /// Both valid UTF-8; `passage` is not empty.
  FrameTokens encode(std::string_view title, std::string_view passage) const;

  /// Adds what stands before a head: <|im_start|> for a document, and "[id". Needs id >= 0.
  void open(Frame frame, int64_t id, std::vector<int32_t>& tokens) const;

  /// Adds what stands behind a tail: "id]<|im_end|>" for a document, nothing for an appended text.
  void close(Frame frame, int64_t id, std::vector<int32_t>& tokens) const;

  /// Tokens that open() and close() add for an id of `id_digits` digits.
  static int64_t num_added(Frame frame, int64_t id_digits) {
    return frame == Frame::kDocument ? 4 + 2 * id_digits : 1 + id_digits;
  }

  const text::PromptLayout& layout() const { return layout_; }

 private:
  std::vector<int32_t> between_ids(std::string_view text) const;
  std::vector<int32_t> before_id(std::string_view text) const;
  std::vector<int32_t> after_id(std::string_view text) const;
  FrameTokens encode_apart(std::string_view shown, std::string_view hidden) const;
  void add_id(int64_t id, std::vector<int32_t>& tokens) const;
  void expect_layout(std::string_view title, std::string_view passage) const;

  const text::PromptLayout& layout_;
  int32_t open_ = 0;   // [
  int32_t close_ = 0;  // ]
  std::array<int32_t, 10> digits_{};
};

}  // namespace msa::samples
