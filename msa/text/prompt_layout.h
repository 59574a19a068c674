#pragma once
// What the model reads: token sequences with roles, for documents, questions, appended texts and
// answers. Source: arXiv 2603.23516 and the layout of its published checkpoint.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "msa/text/tokenizer.h"

namespace msa::text {

/// Roles as a training sequence has them. The n-th document of a sequence (n >= 1) has the role n,
/// whatever its id.
constexpr int32_t kTemplateRole = -2;
constexpr int32_t kResponseRole = -1;
constexpr int32_t kQuestionRole = 0;  // the tokens that route

/// Plain text that the model writes when it has read enough.
constexpr std::string_view kEndOfRetrieve = "<End-of-Retrieve>";

/// What stands in front of a question's text and behind it.
constexpr std::string_view kQuestionFront =
    "\nPlease answer the question based on the above historical document information\n\n";
constexpr std::string_view kQuestionBack =
    "\nPlease return all documents related to the question\n";

/// How an answer begins, a blank and the answer itself behind it.
constexpr std::string_view kAnswerFrame = "The answer to the question is:";

/// The answer where the memory holds none.
constexpr std::string_view kUnknownAnswer = "I do not know.";

struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<int32_t> roles;  // one for each token

  void append(const Prompt& more);
};

/// A document whose text is appended to the conversation.
struct AppendedText {
  int64_t id = 0;
  std::string_view text;
};

/// Every piece is tokenised by itself and special tokens come from the template alone: a document
/// or a question that spells one is plain text. Borrowed tokenizer; may be used from several
/// threads.
class PromptLayout {
 public:
  /// `top_k`: documents chosen in a layer; the question's positions begin behind that many.
  /// Throws Error(kInvalidFormat) if the tokenizer lacks one of the special tokens.
  PromptLayout(const Tokenizer& tokenizer, int64_t top_k);

  /// <|im_start|>[id]. text[id]<|im_end|>, all of the role `place` + 1: `place` counts the
  /// documents before this one in its sequence, none where a document is encoded by itself. Its
  /// positions begin at 0. Needs id >= 0 and 0 <= place < 2^31 - 1.
  Prompt document(int64_t id, std::string_view text, int64_t place = 0) const;

  /// <|im_start|>user\n, all template. Its positions begin at 0.
  Prompt prompt_head() const;

  /// The question, the prompt tail and the <|im_start|> that opens the response: what the first
  /// round reads. Its positions begin at question_start() and count on through all that is written
  /// or appended.
  Prompt question(std::string_view question) const;

  /// "[id]. text\n" for each, then <|object_ref_end|>. The texts route, the closing token does not.
  Prompt appended_texts(std::span<const AppendedText> texts) const;

  /// <|im_start|>The user's question is: question\n<|object_ref_end|>, all response.
  Prompt answer_prompt(std::string_view question) const;

  /// kAnswerFrame, a blank, the answer, <|im_end|>, all response: what the model writes last.
  Prompt answer(std::string_view answer) const;

  /// "[id][id]", as one text, then <|object_ref_end|>: what the model writes to name documents.
  Prompt named_documents(std::span<const int64_t> ids) const;

  /// kEndOfRetrieve in tokens.
  const std::vector<int32_t>& end_of_retrieve() const { return end_of_retrieve_; }

  /// Roles of a conversation, from its question on, when its second or a later round begins: the
  /// question goes on routing, without the line end after its last word, and all behind it has the
  /// response role, texts of earlier rounds too. Appended texts of this round come behind.
  static void settle(std::vector<int32_t>& roles);

  int64_t question_start() const { return 3 + top_k_; }

  int32_t start_token() const { return start_; }      // <|im_start|>
  int32_t end_token() const { return end_; }          // <|im_end|>
  int32_t ids_end_token() const { return ids_end_; }  // <|object_ref_end|>
  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  const Tokenizer& tokenizer_;
  int64_t top_k_;
  int32_t start_;
  int32_t end_;
  int32_t ids_end_;
  std::vector<int32_t> end_of_retrieve_;
};

}  // namespace msa::text
