#pragma once
// Which documents make up the memory of a batch.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "msa/samples/chain_maker.h"
#include "msa/samples/invented_facts.h"
#include "msa/samples/mixture.h"
#include "msa/samples/random.h"
#include "msa/samples/shown_document.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

/// A fact with the text that tells it.
struct ToldFact {
  InventedFact fact;
  std::string text;
};

/// A document that does not enter a memory, and those that are taken for it.
struct LeftOut {
  int32_t document = 0;
  std::vector<int32_t> similar;
};

/// Documents in their places. What they show lives as long as the memory that it was moved to last.
class DrawnMemory {
 public:
  explicit DrawnMemory(const TrainCorpus& corpus) : corpus_(corpus) {}
  DrawnMemory(DrawnMemory&&) = default;
  DrawnMemory(const DrawnMemory&) = delete;

  /// False if the document is in it already.
  bool add(const ShownDocument& shown);

  /// The same of a document that is read with a fact in it from now on.
  bool add(ShownDocument shown, ToldFact told);

  /// What the document in a place tells of an invented name; null: nothing.
  const InventedFact* fact_of(int32_t place) const;

  /// Places of documents that tell such facts, rising.
  const std::vector<int32_t>& telling() const { return telling_; }

  /// -1 where it is not.
  int32_t place_of(int32_t document) const;

  /// True if it holds a passage of the document, or a document of the same title.
  bool speaks_of(int32_t document) const;

  /// Documents in it that share this one's title, itself included.
  int64_t num_of_title(int32_t document) const;

  const std::vector<ShownDocument>& documents() const { return documents_; }

  std::vector<ChainQuestion> chains;  // whose documents are both in it
  std::vector<LeftOut> left_out;      // none of these documents is in it

 private:
  const TrainCorpus& corpus_;
  std::vector<ShownDocument> documents_;
  std::unordered_map<int32_t, int32_t> places_;
  std::unordered_set<std::string_view> names_;
  std::unordered_map<std::string_view, int64_t> titles_;  // how many of each
  std::map<int32_t, ToldFact> told_;                      // by place
  std::vector<int32_t> telling_;
};

/// Immutable; may be used from several threads. Borrows the corpus.
class MemoryDrawer {
 public:
  /// Throws Error(kInvalidArgument) if the mixture leaves no document to draw.
  MemoryDrawer(const TrainCorpus& corpus, const Mixture& mixture);

  /// A document that may enter, by its source's weight.
  int32_t draw(Random& random) const;

  /// Documents with ids until mixture.memory_tokens are full. `similar`: groups of alike documents,
  /// the one that the others are taken for first; for refusals some enter without it. Throws
  /// Error(kInvalidArgument) if none fits.
  DrawnMemory draw_memory(std::span<const std::vector<int32_t>> similar, Random& random) const;

  /// Neither held back nor a repetition nor of a source of weight 0.
  bool may_enter(int32_t document) const;

 private:
  struct Filling;

  double weight_of(int64_t source) const;
  bool add(int32_t document, Filling& filling, Random& random) const;
  bool add_telling(ShownDocument shown, Filling& filling, Random& random) const;
  bool add_group(std::span<const int32_t> group, Filling& filling, Random& random) const;
  void add_neighbours(int32_t document, Filling& filling, Random& random) const;
  void add_other_gold(int32_t document, Filling& filling, Random& random) const;
  void add_chain(int32_t document, Filling& filling, Random& random) const;

  const TrainCorpus& corpus_;
  const Mixture mixture_;
  std::vector<std::vector<int32_t>> documents_;  // by source, that may enter
  std::vector<double> source_ends_;              // running sum of the sources' weights
  ChainMaker chains_;
};

}  // namespace msa::samples
