#include "msa/samples/sequence_writer.h"

#include <algorithm>
#include <utility>

namespace msa::samples {
namespace {

void add_sequence(const TrainSequence& sequence, std::string name, Batch& batch) {
  const auto first = static_cast<int32_t>(batch.sequences.num_tokens());
  PackedTokens& packed = batch.sequences;
  const auto& tokens = sequence.prompt.tokens;
  packed.tokens.insert(packed.tokens.end(), tokens.begin(), tokens.end());
  packed.positions.insert(packed.positions.end(), sequence.positions.begin(),
                          sequence.positions.end());
  packed.offsets.push_back(static_cast<int32_t>(packed.tokens.size()));
  const Targets& targets = sequence.targets;
  for (const int32_t row : targets.rows) batch.targets.rows.push_back(first + row);
  batch.targets.tokens.insert(batch.targets.tokens.end(), targets.tokens.begin(),
                              targets.tokens.end());
  batch.targets.weights.insert(batch.targets.weights.end(), targets.weights.begin(),
                               targets.weights.end());
  batch.targets.terms.insert(batch.targets.terms.end(), targets.terms.begin(), targets.terms.end());
  batch.names.push_back(std::move(name));
}

}  // namespace

SequenceWriter::SequenceWriter(const text::PromptLayout& layout, const TrainCorpus& corpus)
    : layout_(layout), corpus_(corpus) {
  const auto count = [&](std::string_view text) {
    return static_cast<int64_t>(layout.tokenizer().encode(text).size());
  };
  front_tokens_ = count(text::kQuestionFront);
  // The line end in front of the back may share a token with the question's last mark.
  back_tokens_ = count(text::kQuestionBack.substr(1));
  frame_tokens_ = count(text::kAnswerFrame);
}

void SequenceWriter::begin_alone() {
  begin_asked();
  is_asked_ = false;
}

void SequenceWriter::begin_asked() {
  sequence_ = {};
  is_asked_ = true;
  head_tokens_ = 0;
}

void SequenceWriter::add_tokens(std::span<const int32_t> tokens, int32_t role) {
  auto& prompt = sequence_.prompt;
  prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  prompt.roles.resize(prompt.tokens.size(), role);
}

void SequenceWriter::learn(size_t first, size_t end, Learned learned) {
  if (learned.weight <= 0) return;
  for (size_t i = std::max<size_t>(first, 1); i < end; ++i) {
    sequence_.targets.add(static_cast<int32_t>(i) - 1, sequence_.prompt.tokens[i], learned.weight,
                          learned.term);
  }
}

void SequenceWriter::add_document(const ShownDocument& shown, Learned learned) {
  std::vector<int32_t> tokens;
  append_document(corpus_, shown, tokens);
  add_tokens(tokens, 1);
  learn(std::min(opening_tokens(shown.id), tokens.size()), tokens.size(), learned);
  head_tokens_ = tokens.size();
}

int64_t SequenceWriter::add_question(std::string_view question, Learned learned) {
  if (!is_asked_) {
    sequence_.prompt.append(layout_.prompt_head());
    head_tokens_ = sequence_.prompt.tokens.size();
  }
  const size_t begin = sequence_.prompt.tokens.size();
  const text::Prompt prompt = layout_.question(question);
  sequence_.prompt.append(prompt);
  const auto num_routing = static_cast<int64_t>(
      std::count(prompt.roles.begin(), prompt.roles.end(), text::kQuestionRole));
  const int64_t count = num_routing - front_tokens_ - back_tokens_;
  learn(begin + static_cast<size_t>(front_tokens_),
        begin + static_cast<size_t>(num_routing - back_tokens_), learned);
  return count;
}

void SequenceWriter::add_ids(std::span<const int64_t> ids, Learned learned) {
  const size_t begin = sequence_.prompt.tokens.size();
  sequence_.prompt.append(layout_.named_documents(ids));
  learn(begin, sequence_.prompt.tokens.size(), learned);
}

void SequenceWriter::add_texts(std::vector<ShownDocument> texts, Learned learned,
                               std::span<const Renaming> renamings) {
  std::ranges::sort(texts, {}, &ShownDocument::id);
  std::vector<int32_t> tokens;
  for (const ShownDocument& text : texts) {
    if (renamings.empty()) {
      append_text(corpus_, text, tokens);
    } else {
      append_text(layout_, text.id, renamed(shown_text(corpus_, text), renamings), tokens);
    }
  }
  add_text_tokens(tokens, learned);
}

void SequenceWriter::add_text_tokens(std::span<const int32_t> tokens, Learned learned) {
  text::PromptLayout::settle(sequence_.prompt.roles);
  const size_t begin = sequence_.prompt.tokens.size();
  add_tokens(tokens, text::kQuestionRole);
  learn(begin, sequence_.prompt.tokens.size(), learned);
  const int32_t closing = layout_.ids_end_token();
  add_tokens(std::span(&closing, 1), text::kResponseRole);
}

void SequenceWriter::add_text(int64_t id, std::string_view text, Learned learned) {
  std::vector<int32_t> tokens;
  append_text(layout_, id, text, tokens);
  add_text_tokens(tokens, learned);
}

void SequenceWriter::add_end_of_retrieve(Learned learned) {
  const size_t begin = sequence_.prompt.tokens.size();
  add_tokens(layout_.end_of_retrieve(), text::kResponseRole);
  learn(begin, sequence_.prompt.tokens.size(), learned);
}

int64_t SequenceWriter::add_answer(std::string_view question, std::string_view answer,
                                   Learned learned, float frame_weight) {
  sequence_.prompt.append(layout_.answer_prompt(question));
  const size_t begin = sequence_.prompt.tokens.size();
  sequence_.prompt.append(layout_.answer(answer));
  const size_t answer_begin = begin + static_cast<size_t>(frame_tokens_);
  learn(begin, answer_begin, {.term = learned.term, .weight = frame_weight});
  learn(answer_begin, sequence_.prompt.tokens.size(), learned);
  return static_cast<int64_t>(sequence_.prompt.tokens.size() - answer_begin) - 1;
}

const TrainSequence& SequenceWriter::sequence() {
  const auto start = static_cast<size_t>(is_asked_ ? layout_.question_start() : 0);
  auto& positions = sequence_.positions;
  positions.resize(sequence_.prompt.tokens.size());
  for (size_t i = 0; i < positions.size(); ++i) {
    const size_t skipped = is_asked_ || i < head_tokens_
                               ? start
                               : static_cast<size_t>(layout_.question_start()) - head_tokens_;
    positions[i] = static_cast<int32_t>(i + skipped);
  }
  return sequence_;
}

void add_asked(const TrainSequence& sequence, std::span<const int32_t> gold, std::string name,
               Batch& batch) {
  const auto first = static_cast<int32_t>(batch.sequences.num_tokens());
  const auto& roles = sequence.prompt.roles;
  for (size_t i = 0; i < roles.size(); ++i) {
    if (roles[i] == text::kQuestionRole) {
      batch.query_rows.push_back(first + static_cast<int32_t>(i));
    }
  }
  batch.query_offsets.push_back(static_cast<int32_t>(batch.query_rows.size()));
  batch.gold.insert(batch.gold.end(), gold.begin(), gold.end());
  batch.gold_offsets.push_back(static_cast<int32_t>(batch.gold.size()));
  ++batch.num_asking;
  add_sequence(sequence, std::move(name), batch);
}

void add_alone(const TrainSequence& sequence, std::string name, Batch& batch) {
  add_sequence(sequence, std::move(name), batch);
}

}  // namespace msa::samples
