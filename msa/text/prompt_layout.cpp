#include "msa/text/prompt_layout.h"

#include <algorithm>
#include <limits>
#include <string>

#include "msa/base/error.h"

namespace msa::text {
namespace {

int32_t required(const Tokenizer& tokenizer, std::string_view content) {
  const auto id = tokenizer.special_id(content);
  if (!id) {
    throw Error(ErrorCode::kInvalidFormat, "the tokenizer has no special token ", content);
  }
  return *id;
}

/// Adds tokens of one role.
class Builder {
 public:
  explicit Builder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  Builder& text(std::string_view text, int32_t role) {
    for (const int32_t token : tokenizer_.encode(text)) special(token, role);
    return *this;
  }
  Builder& special(int32_t token, int32_t role) {
    prompt_.tokens.push_back(token);
    prompt_.roles.push_back(role);
    return *this;
  }
  Prompt take() { return std::move(prompt_); }

 private:
  const Tokenizer& tokenizer_;
  Prompt prompt_;
};

std::string bracketed(int64_t id) {
  MSA_CHECK(id >= 0, "a document's id must not be negative, got ", id);
  return "[" + std::to_string(id) + "]";
}

}  // namespace

void Prompt::append(const Prompt& more) {
  tokens.insert(tokens.end(), more.tokens.begin(), more.tokens.end());
  roles.insert(roles.end(), more.roles.begin(), more.roles.end());
}

PromptLayout::PromptLayout(const Tokenizer& tokenizer, int64_t top_k)
    : tokenizer_(tokenizer),
      top_k_(top_k),
      start_(required(tokenizer, "<|im_start|>")),
      end_(required(tokenizer, "<|im_end|>")),
      ids_end_(required(tokenizer, "<|object_ref_end|>")),
      end_of_retrieve_(tokenizer.encode(kEndOfRetrieve)) {}

Prompt PromptLayout::document(int64_t id, std::string_view text, int64_t place) const {
  MSA_CHECK(place >= 0 && place < std::numeric_limits<int32_t>::max(),
            "a document's place must be in [0, 2^31 - 1), got ", place);
  const auto role = static_cast<int32_t>(place + 1);
  std::string whole = bracketed(id) + ". ";
  whole += text;
  whole += bracketed(id);
  return Builder(tokenizer_).special(start_, role).text(whole, role).special(end_, role).take();
}

Prompt PromptLayout::prompt_head() const {
  return Builder(tokenizer_).special(start_, kTemplateRole).text("user\n", kTemplateRole).take();
}

Prompt PromptLayout::question(std::string_view question) const {
  std::string whole(kQuestionFront);
  whole += question;
  whole += kQuestionBack;
  return Builder(tokenizer_)
      .text(whole, kQuestionRole)
      .special(end_, kTemplateRole)
      .text("\n", kTemplateRole)
      .special(start_, kResponseRole)
      .take();
}

Prompt PromptLayout::appended_texts(std::span<const AppendedText> texts) const {
  Builder builder(tokenizer_);
  for (const AppendedText& appended : texts) {
    std::string whole = bracketed(appended.id) + ". ";
    whole += appended.text;
    whole += '\n';
    builder.text(whole, kQuestionRole);
  }
  return builder.special(ids_end_, kResponseRole).take();
}

Prompt PromptLayout::answer_prompt(std::string_view question) const {
  std::string whole = "The user's question is: ";
  whole += question;
  whole += '\n';
  return Builder(tokenizer_)
      .special(start_, kResponseRole)
      .text(whole, kResponseRole)
      .special(ids_end_, kResponseRole)
      .take();
}

Prompt PromptLayout::answer(std::string_view answer) const {
  std::string whole(kAnswerFrame);
  whole += ' ';
  whole += answer;
  return Builder(tokenizer_).text(whole, kResponseRole).special(end_, kResponseRole).take();
}

Prompt PromptLayout::named_documents(std::span<const int64_t> ids) const {
  std::string whole;
  for (const int64_t id : ids) whole += bracketed(id);
  return Builder(tokenizer_).text(whole, kResponseRole).special(ids_end_, kResponseRole).take();
}

void PromptLayout::settle(std::vector<int32_t>& roles) {
  const auto tail = std::find(roles.begin(), roles.end(), kTemplateRole);
  if (tail != roles.end() && tail != roles.begin()) {
    // First time: the question's last token is its line end.
    *(tail - 1) = kResponseRole;
    std::replace(tail, roles.end(), kTemplateRole, kResponseRole);
    return;
  }
  // Later: only the question itself, up to its first response token, goes on routing.
  const auto question_end = std::find(roles.begin(), roles.end(), kResponseRole);
  std::fill(question_end, roles.end(), kResponseRole);
}

}  // namespace msa::text
