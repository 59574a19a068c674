#include "msa/engine/answer_writer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "msa/base/error.h"
#include "msa/engine/sampler.h"
#include "msa/text/answer_protocol.h"

namespace msa::engine {
namespace {

/// What is written, without the answer's frame and the blanks around it; gives it out in whole
/// characters as tokens come, but nothing of what is, or may become, text::kUnknownAnswer.
class AnswerText {
 public:
  explicit AnswerText(const std::function<void(std::string_view)>& on_text) : on_text_(on_text) {}

  void add(std::string_view bytes) {
    raw_ += bytes;
    if (!on_text_) return;
    const std::string_view text = trimmed();
    size_t end = text.size();
    while (end > 0 && (static_cast<unsigned char>(text[end - 1]) & 0xC0) == 0x80) --end;
    if (end > 0 && static_cast<unsigned char>(text[end - 1]) >= 0xC0) --end;
    if (static_cast<unsigned char>(text.empty() ? 0 : text.back()) < 0x80) end = text.size();
    if (is_past_frame() && !text::kUnknownAnswer.starts_with(text)) give(end);
  }

  std::string_view trimmed() const {
    std::string_view text = body();
    while (!text.empty() && (text.back() == ' ' || text.back() == '\n')) text.remove_suffix(1);
    return text;
  }

  std::string finish() {
    if (on_text_) give(trimmed().size());
    return std::string(trimmed());
  }

  size_t size() const { return raw_.size(); }

  /// Bytes of the frame, the blanks behind it not among them.
  size_t frame_size() const {
    return raw_.starts_with(text::kAnswerFrame) ? text::kAnswerFrame.size() : 0;
  }

  /// Forgets all but the first bytes, none of which may have been given out.
  void truncate(size_t size) { raw_.resize(size); }

 private:
  /// All up to `end` that has not been given yet.
  void give(size_t end) {
    if (end <= given_) return;
    on_text_(body().substr(given_, end - given_));
    given_ = end;
  }

  bool is_past_frame() const {
    return raw_.size() > text::kAnswerFrame.size() || !text::kAnswerFrame.starts_with(raw_);
  }
  std::string_view body() const {
    std::string_view text = raw_;
    text.remove_prefix(frame_size());
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    return text;
  }

  const std::function<void(std::string_view)>& on_text_;
  std::string raw_;
  size_t given_ = 0;
};

class AnswerWriter {
 public:
  AnswerWriter(const LoadedModel& model, model::Session& session, const AskOptions& options,
               const std::function<void(std::string_view)>& on_text)
      : model_(model),
        session_(session),
        options_(options),
        start_(session.num_tokens()),
        sampler_(
            {.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed}),
        text_(on_text) {}

  WrittenAnswer write(std::span<const float> logits) {
    logits_.assign(logits.begin(), logits.end());
    write_on(logits);
    if (text_.trimmed() == text::kUnknownAnswer) {
      const size_t first = first_of_body();
      const double probability = std::min(1.0, probability_from(first));
      written_.decline_probability = probability;
      if (options_.decline_from == 1 || probability < options_.decline_from) {
        // Other tokens may spell the same again: they are left out as well.
        while (text_.trimmed() == text::kUnknownAnswer) write_instead(first);
      }
    }
    written_.text = text_.finish();
    return written_;
  }

 private:
  /// Whether the token is followed by another, so that the session needs it.
  bool add(int32_t token) {
    ++written_.num_tokens;
    if (text::ends_response(model_.layout(), model_.config().end_tokens, token)) return false;
    tokens_.push_back(token);
    text_.add(model_.tokenizer().token_bytes(token));
    ends_.push_back(text_.size());
    written_.is_truncated = num_left() == 0;
    return !written_.is_truncated;
  }

  int64_t num_left() const {
    return options_.max_answer_tokens - static_cast<int64_t>(tokens_.size());
  }

  void write_on(std::span<const float> logits) {
    if (options_.temperature == 0) {
      session_.write(
          logits, [this](int32_t token) { return add(token); }, num_left() - 1);
      return;
    }
    for (int32_t token = sampler_.sample(logits); add(token); token = sampler_.sample(logits)) {
      logits = session_.extend(std::span(&token, 1));
    }
  }

  /// The first token that reaches beyond the frame.
  size_t first_of_body() const {
    size_t first = 0;
    while (ends_[first] <= text_.frame_size()) ++first;
    return first;
  }

  /// Of the tokens from `first` on behind those before it, the one that ends the answer not among
  /// them. logits_ become those behind the token before `first`.
  double probability_from(size_t first) {
    if (first > 0) {
      session_.truncate(start_ + static_cast<int64_t>(first) - 1);
      const auto logits = session_.extend(std::span(&tokens_[first - 1], 1));
      logits_.assign(logits.begin(), logits.end());
    } else {
      session_.truncate(start_);
    }
    std::span<const float> logits = logits_;
    double log_probability = 0;
    for (size_t i = first; i < tokens_.size(); ++i) {
      if (i > first) logits = session_.extend(std::span(&tokens_[i - 1], 1));
      log_probability +=
          static_cast<double>(logits[static_cast<size_t>(tokens_[i])]) - log_sum_exp(logits);
    }
    return std::exp(log_probability);
  }

  /// Once more from `first` on, whose token is left out of the choice, and so is an empty answer.
  void write_instead(size_t first) {
    session_.truncate(start_ + static_cast<int64_t>(first));
    for (size_t token = 0; token < logits_.size(); ++token) {
      const auto id = static_cast<int32_t>(token);
      const bool ends = text::ends_response(model_.layout(), model_.config().end_tokens, id);
      if (ends || id == tokens_[first]) logits_[token] = -std::numeric_limits<float>::infinity();
    }
    text_.truncate(first > 0 ? ends_[first - 1] : 0);
    tokens_.resize(first);
    ends_.resize(first);
    written_.is_truncated = false;
    const int32_t token = sampler_.sample(logits_);
    if (!add(token)) return;
    write_on(session_.extend(std::span(&token, 1)));
  }

  const LoadedModel& model_;
  model::Session& session_;
  const AskOptions& options_;
  int64_t start_;  // tokens that the session holds before the answer
  Sampler sampler_;
  AnswerText text_;
  std::vector<float> logits_;    // where the answer, without its frame, begins
  std::vector<int32_t> tokens_;  // written, without the one that ends the answer
  std::vector<size_t> ends_;     // of each, in bytes
  WrittenAnswer written_;
};

}  // namespace

WrittenAnswer write_answer(const LoadedModel& model, model::Session& session,
                           std::span<const float> logits, const AskOptions& options,
                           const std::function<void(std::string_view)>& on_text) {
  return AnswerWriter(model, session, options, on_text).write(logits);
}

}  // namespace msa::engine
