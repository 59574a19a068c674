#pragma once
// Documents that are hard to tell apart: what a search finds for a question beside what answers it.

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "msa/corpus/bm25.h"
#include "msa/samples/mixture.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

/// The best `num_documents` for each question or fewer, best first.
using Search = std::function<std::vector<std::vector<int32_t>>(
    std::span<const std::string_view> questions, int64_t num_documents)>;

/// BM25 over titles and texts of all documents that a mixture may draw. Immutable; may be used from
/// several threads.
class WordIndex {
 public:
  WordIndex(const TrainCorpus& corpus, const Mixture& mixture);

  /// A Search, on all threads of parallel_for.
  std::vector<std::vector<int32_t>> search(std::span<const std::string_view> questions,
                                           int64_t num_documents) const;

 private:
  corpus::Bm25 index_;
  std::vector<int32_t> documents_;  // by place in the index
};

struct SimilarOptions {
  uint64_t seed = 0;
  int64_t num_questions = 20'000;  // drawn by the sources' weights
  int64_t num_documents = 6;       // of a group at most, beside the gold ones
};

/// Groups for BatchMaker::set_similar: gold documents of a question and what `search` takes for
/// them, without documents that hold the answer, or that share a gold document's title where no
/// answer is known. Questions for which nothing else is found give no group. The same for equal
/// arguments.
std::vector<std::vector<int32_t>> similar_documents(const TrainCorpus& corpus,
                                                    const Mixture& mixture, const Search& search,
                                                    const SimilarOptions& options);

}  // namespace msa::samples
