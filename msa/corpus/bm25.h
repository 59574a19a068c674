#pragma once
// Full-text search by BM25 over an inverted index in memory.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace msa::corpus {

/// A document by its place in the order of add(), and its score; higher is better.
struct ScoredText {
  int64_t document = 0;
  double score = 0;
};

/// Add every document, finish, then search. After finish(), several threads may search at once.
class Bm25 {
 public:
  /// `text` is valid UTF-8; it is not kept. Throws Error(kInvalidArgument) after finish(), and
  /// Error(kLimit) past 2^31 - 1 documents or words in one document.
  void add(std::string_view text);

  /// Fixes the statistics that scores depend on. Throws Error(kInvalidArgument) if called twice.
  void finish();

  /// The best `top_k` documents that hold a word of the query, best first, ties to the earlier
  /// document. A word that the query repeats counts as often as it stands there.
  /// Throws Error(kInvalidArgument) before finish() or where top_k is negative.
  std::vector<ScoredText> search(std::string_view query, int64_t top_k) const;

  int64_t size() const { return static_cast<int64_t>(lengths_.size()); }

 private:
  struct Posting {
    int32_t document = 0;
    int32_t count = 0;
  };

  /// Lets find() take a string_view.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>{}(word); }
  };

  std::unordered_map<std::string, std::vector<Posting>, Hash, std::equal_to<>> postings_;
  std::vector<int32_t> lengths_;      // words per document
  std::vector<double> length_parts_;  // k1 * (1 - b + b * length / mean length), per document
  bool is_finished_ = false;
};

}  // namespace msa::corpus
