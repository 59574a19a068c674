#include "msa/samples/mixture.h"

#include <cmath>
#include <utility>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

void expect_weight(double value, const char* name) {
  MSA_CHECK(value >= 0 && std::isfinite(value), name, " must not be below 0, got ", value);
}

void expect_count(int64_t value, int64_t lowest, int64_t highest, const char* name) {
  MSA_CHECK(value >= lowest && value <= highest, name, " must be in [", lowest, ", ", highest,
            "], got ", value);
}

}  // namespace

void check(const Mixture& mixture, int64_t num_sources) {
  MSA_CHECK(mixture.sources.empty() || static_cast<int64_t>(mixture.sources.size()) == num_sources,
            "the mixture has ", mixture.sources.size(), " sources, the corpus ", num_sources);
  for (const SourceShare& source : mixture.sources) {
    expect_weight(source.documents, "a source's weight of documents");
    expect_weight(source.questions, "a source's weight of questions");
  }
  constexpr int64_t kMaxTokens = int64_t{1} << 30;
  expect_count(mixture.memory_tokens, 0, kMaxTokens, "memory_tokens");
  expect_count(mixture.sequence_tokens, 1, kMaxTokens, "sequence_tokens");
  expect_count(mixture.max_sequence_tokens, 1, kMaxTokens, "max_sequence_tokens");
  expect_count(mixture.max_question_tokens, 1, kMaxTokens, "max_question_tokens");
  expect_count(mixture.max_answer_tokens, 1, kMaxTokens, "max_answer_tokens");
  expect_count(mixture.num_neighbours, 0, 1'000, "num_neighbours");
  expect_count(mixture.ids_max_digits, 1, 18, "ids_max_digits");
  expect_count(mixture.max_alone_answers, 1, 100, "max_alone_answers");
  for (const auto& [value, name] : {std::pair{mixture.hidden_title_share, "hidden_title_share"},
                                    {mixture.neighbour_share, "neighbour_share"},
                                    {mixture.similar_share, "similar_share"},
                                    {mixture.invented_share, "invented_share"},
                                    {mixture.invented_question_share, "invented_question_share"},
                                    {mixture.language_share, "language_share"},
                                    {mixture.reading_share, "reading_share"},
                                    {mixture.no_answer_share, "no_answer_share"},
                                    {mixture.no_answer_text_share, "no_answer_text_share"},
                                    {mixture.no_answer_similar_share, "no_answer_similar_share"},
                                    {mixture.distractor_share, "distractor_share"},
                                    {mixture.end_of_retrieve_share, "end_of_retrieve_share"},
                                    {mixture.made_reading_share, "made_reading_share"},
                                    {mixture.alone_answers_share, "alone_answers_share"},
                                    {mixture.alone_gap_share, "alone_gap_share"},
                                    {mixture.renamed_share, "renamed_share"},
                                    {mixture.hop_share, "hop_share"},
                                    {mixture.retry_share, "retry_share"},
                                    {mixture.chain_share, "chain_share"},
                                    {mixture.lower_case_share, "lower_case_share"}}) {
    MSA_CHECK(value >= 0 && value <= 1, name, " must be in [0, 1], got ", value);
  }
  MSA_CHECK(mixture.language_share + mixture.reading_share <= 1,
            "language_share and reading_share together must not be above 1, got ",
            mixture.language_share + mixture.reading_share);
  MSA_CHECK(mixture.alone_answers_share + mixture.alone_gap_share <= 1,
            "alone_answers_share and alone_gap_share together must not be above 1, got ",
            mixture.alone_answers_share + mixture.alone_gap_share);
  const QuestionShares& questions = mixture.questions;
  for (const auto& [value, name] : {std::pair{questions.written, "questions.written"},
                                    {questions.span, "questions.span"},
                                    {questions.words, "questions.words"},
                                    {questions.title, "questions.title"},
                                    {questions.cloze, "questions.cloze"},
                                    {questions.fact, "questions.fact"}}) {
    expect_weight(value, name);
  }
  const TargetWeights& weights = mixture.weights;
  for (const auto& [value, name] : {std::pair{weights.document, "weights.document"},
                                    {weights.alone_question, "weights.alone_question"},
                                    {weights.alone_text, "weights.alone_text"},
                                    {weights.alone_answer, "weights.alone_answer"},
                                    {weights.answer, "weights.answer"},
                                    {weights.end_of_retrieve, "weights.end_of_retrieve"},
                                    {weights.answer_frame, "weights.answer_frame"},
                                    {weights.text, "weights.text"}}) {
    expect_weight(value, name);
  }
}

}  // namespace msa::samples
