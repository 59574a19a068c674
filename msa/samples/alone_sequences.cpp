#include "msa/samples/alone_sequences.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "msa/corpus/passage_text.h"
#include "msa/samples/document_ids.h"
#include "msa/samples/gap_question.h"

namespace msa::samples {
namespace {

Learned language(float weight) { return {.term = LossTerm::kLanguage, .weight = weight}; }

}  // namespace

AloneSequences::AloneSequences(const TrainCorpus& corpus, const QuestionDrawer& questions,
                               const Mixture& mixture)
    : corpus_(corpus), questions_(questions), mixture_(mixture) {}

ShownDocument AloneSequences::shown(int32_t document, Random& random) const {
  return {.document = document,
          .id = DocumentIds::random_id(mixture_.ids_max_digits, random),
          .title = random.chance(mixture_.hidden_title_share) ? TrainCorpus::Title::kHidden
                                                              : TrainCorpus::Title::kShown};
}

AloneSequence AloneSequences::write_document(int32_t document, Random& random,
                                             SequenceWriter& writer) const {
  writer.begin_alone();
  writer.add_document(shown(document, random), language(mixture_.weights.document));
  return {.name = std::string(corpus_.document_name(document))};
}

std::optional<AloneSequence> AloneSequences::write_answers(int32_t document, Random& random,
                                                           SequenceWriter& writer) const {
  const auto questions = questions_.draw_answered(document, mixture_.max_alone_answers, random);
  if (questions.empty()) return std::nullopt;
  const TargetWeights& weights = mixture_.weights;
  const ShownDocument text = shown(document, random);
  std::vector<Renaming> renamings;
  for (size_t i = 0; mixture_.renamed_share > 0 && i < questions.size(); ++i) {
    const std::vector<std::string> passage{renamed(shown_text(corpus_, text), renamings)};
    auto found =
        questions_.draw_renaming(renamed(questions[i].question.text, renamings),
                                 renamed(questions[i].answer, renamings), passage, {}, random);
    if (found) renamings.push_back(std::move(*found));
  }
  const auto asked_as = [&](const WrittenQuestion& question) {
    return questions_.styled(renamed(question.question.text, renamings), random);
  };
  AloneSequence out{.name = std::string(questions[0].question.name)};
  std::string asked = asked_as(questions[0]);
  writer.begin_alone();
  out.question_tokens = writer.add_question(asked, language(weights.alone_question));
  writer.add_ids(std::span(&text.id, 1));
  writer.add_texts({text}, language(weights.alone_text), renamings);
  if (random.chance(mixture_.end_of_retrieve_share)) {
    writer.add_end_of_retrieve(language(weights.end_of_retrieve));
  }
  for (const WrittenQuestion& question : questions) {
    if (&question != &questions[0]) asked = asked_as(question);
    const int64_t tokens = writer.add_answer(asked, renamed(question.answer, renamings),
                                             language(weights.alone_answer), weights.answer_frame);
    out.answer_tokens = std::max(out.answer_tokens, tokens);
  }
  return out;
}

std::optional<AloneSequence> AloneSequences::write_gap(int32_t document, Random& random,
                                                       SequenceWriter& writer) const {
  const std::string_view title = corpus_.title(document);
  const auto gap = gap_question(title, corpus_.text(document), random);
  if (!gap) return std::nullopt;
  const TargetWeights& weights = mixture_.weights;
  const ShownDocument text = shown(document, random);
  AloneSequence out{.name = "gap of " + std::string(corpus_.document_name(document))};
  const std::string question = questions_.styled(gap->text, random);
  writer.begin_alone();
  out.question_tokens = writer.add_question(question, language(weights.alone_question));
  writer.add_ids(std::span(&text.id, 1));
  const bool has_title = text.title == TrainCorpus::Title::kShown;
  writer.add_text(text.id, has_title ? corpus::passage_text(title, gap->passage) : gap->passage,
                  language(weights.alone_text));
  if (random.chance(mixture_.end_of_retrieve_share)) {
    writer.add_end_of_retrieve(language(weights.end_of_retrieve));
  }
  out.answer_tokens = writer.add_answer(question, gap->answer, language(weights.alone_answer),
                                        weights.answer_frame);
  return out;
}

}  // namespace msa::samples
