#pragma once
// Documents that are hard to tell apart: what a search finds for a question beside what answers it.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "msa/corpus/bm25.h"
#include "msa/samples/mixture.h"
#include "msa/samples/question_drawer.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

struct SearchedOptions {
  uint64_t seed = 0;
  int64_t step = 0;  // other steps draw other questions
  int64_t num_questions = 20'000;
};

/// Written questions that may be asked in training, drawn by the sources' weights: fewer where none
/// is found. The same for equal arguments.
std::vector<WrittenQuestion> draw_searched(const TrainCorpus& corpus, const Mixture& mixture,
                                           const SearchedOptions& options);

/// BM25 over titles and texts of all documents that a mixture may draw. Immutable; may be used from
/// several threads.
class WordIndex {
 public:
  WordIndex(const TrainCorpus& corpus, const Mixture& mixture);

  /// The best `num_documents` for each question or fewer, best first, on all threads of
  /// parallel_for.
  std::vector<std::vector<int32_t>> search(std::span<const WrittenQuestion> questions,
                                           int64_t num_documents) const;

 private:
  corpus::Bm25 index_;
  std::vector<int32_t> documents_;  // by place in the index
};

/// Of what is searched for, beside the documents that a group is to have: the gold ones and those
/// that hold an answer are left out.
constexpr int64_t kMoreDocuments = 10;

/// Groups for BatchMaker::set_similar: gold documents of a question and the first `num_documents`
/// >= 1 of what a search has `found` for it, best first; without documents that may not enter, that
/// hold one of its answers, or that share a gold document's title where its own answer tells
/// nothing. Questions for which nothing is left give no group. `found` is by question.
std::vector<std::vector<int32_t>> similar_documents(const TrainCorpus& corpus,
                                                    const Mixture& mixture,
                                                    std::span<const WrittenQuestion> questions,
                                                    std::span<const std::vector<int32_t>> found,
                                                    int64_t num_documents);

}  // namespace msa::samples
