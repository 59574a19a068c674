#include "msa/corpus/bm25.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "msa/base/error.h"
#include "msa/corpus/words.h"

namespace msa::corpus {
namespace {

constexpr double kSaturation = 1.2;     // k1
constexpr double kLengthWeight = 0.75;  // b
constexpr size_t kMaxCount = std::numeric_limits<int32_t>::max();

}  // namespace

void Bm25::add(std::string_view text) {
  MSA_CHECK(!is_finished_, "a finished BM25 index takes no more documents");
  const std::vector<Word> words = words_of(text);
  if (lengths_.size() >= kMaxCount || words.size() > kMaxCount) {
    throw Error(ErrorCode::kLimit, "BM25 holds at most ", kMaxCount,
                " documents of as many words each");
  }
  const auto document = static_cast<int32_t>(lengths_.size());
  for (const Word& word : words) {
    std::vector<Posting>& postings = postings_[word.text];
    if (postings.empty() || postings.back().document != document) postings.push_back({document, 0});
    ++postings.back().count;
  }
  lengths_.push_back(static_cast<int32_t>(words.size()));
}

void Bm25::finish() {
  MSA_CHECK(!is_finished_, "a BM25 index is finished once");
  const int64_t total = std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0});
  // Without any word nothing is ever scored; 1 avoids 0 / 0.
  const double mean =
      total > 0 ? static_cast<double>(total) / static_cast<double>(lengths_.size()) : 1.0;
  length_parts_.reserve(lengths_.size());
  for (const int32_t length : lengths_) {
    length_parts_.push_back(kSaturation * (1 - kLengthWeight + kLengthWeight * length / mean));
  }
  for (auto& [word, postings] : postings_) postings.shrink_to_fit();
  is_finished_ = true;
}

std::vector<ScoredText> Bm25::search(std::string_view query, int64_t top_k) const {
  MSA_CHECK(is_finished_, "a BM25 index is searched after finish()");
  MSA_CHECK(top_k >= 0, "top_k is ", top_k, ", must not be negative");
  std::map<std::string, int64_t> query_counts;  // ordered: sums do not depend on the hash
  for (Word& word : words_of(query)) ++query_counts[std::move(word.text)];

  const auto num_documents = static_cast<double>(lengths_.size());
  std::vector<double> scores(lengths_.size(), 0.0);
  for (const auto& [word, query_count] : query_counts) {
    const auto found = postings_.find(word);
    if (found == postings_.end()) continue;
    const auto num_holding = static_cast<double>(found->second.size());
    const double weight = static_cast<double>(query_count) *
                          std::log(1 + (num_documents - num_holding + 0.5) / (num_holding + 0.5));
    for (const Posting& posting : found->second) {
      const double count = posting.count;
      const auto document = static_cast<size_t>(posting.document);
      scores[document] += weight * count * (kSaturation + 1) / (count + length_parts_[document]);
    }
  }

  std::vector<ScoredText> best;
  for (size_t document = 0; document < scores.size(); ++document) {
    // Every word that is held adds more than 0.
    if (scores[document] > 0) best.push_back({static_cast<int64_t>(document), scores[document]});
  }
  const auto num_kept = std::min<int64_t>(top_k, static_cast<int64_t>(best.size()));
  std::partial_sort(best.begin(), best.begin() + num_kept, best.end(),
                    [](const ScoredText& a, const ScoredText& b) {
                      return a.score != b.score ? a.score > b.score : a.document < b.document;
                    });
  best.resize(static_cast<size_t>(num_kept));
  return best;
}

}  // namespace msa::corpus
