#pragma once
// Questions over two documents, made from what one says of the other.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "msa/samples/random.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

/// "when was the director of X born": the first document names the director, the second tells.
struct ChainQuestion {
  int32_t first = 0;
  int32_t second = 0;
  std::string text;
  std::string answer;  // a piece of the second document
};

/// Immutable; may be used from several threads. Borrows the corpus.
class ChainMaker {
 public:
  /// `may_enter` tells which documents may be the second one.
  ChainMaker(const TrainCorpus& corpus, const std::function<bool(int32_t)>& may_enter);

  /// A question whose first document this is. Nothing if it says nothing about a title of the
  /// corpus that has something to tell.
  std::optional<ChainQuestion> make(int32_t document, Random& random) const;

  /// One document in 32, by its name alone: chains that begin there are never trained and can show
  /// what was learned.
  bool is_for_evaluation(int32_t document) const;

 private:
  const TrainCorpus& corpus_;
  std::unordered_map<std::string_view, int32_t> by_title_;
};

}  // namespace msa::samples
