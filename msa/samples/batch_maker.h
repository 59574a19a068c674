#pragma once
// Batches of one rank, each a function of its step alone.

#include <cstdint>
#include <span>
#include <vector>

#include "msa/samples/alone_sequences.h"
#include "msa/samples/batch.h"
#include "msa/samples/memory_drawer.h"
#include "msa/samples/mixture.h"
#include "msa/samples/question_drawer.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// Batch `step` of a rank is batch step * world_size + rank of the run.
struct BatchMakerOptions {
  uint64_t seed = 0;
  int64_t rank = 0;
  int64_t world_size = 1;
};

/// Immutable but for set_similar; make may be called from several threads. Borrows the corpus and
/// the layout.
class BatchMaker {
 public:
  /// Throws Error(kInvalidArgument) for a mixture or options out of range.
  BatchMaker(const TrainCorpus& corpus, const text::PromptLayout& layout, const Mixture& mixture,
             const BatchMakerOptions& options);

  BatchMaker(const BatchMaker&) = delete;  // its drawers know each other by address
  BatchMaker& operator=(const BatchMaker&) = delete;

  /// Groups of documents that are hard to tell apart, first the one that the others are taken for;
  /// batches depend on them. No make may run meanwhile, and a BatchStream has to begin anew. Groups
  /// may be empty and may hold documents that never enter; those are left out.
  void set_similar(std::vector<std::vector<int32_t>> groups);

  /// The same for equal corpus, mixture, options, groups and step, step >= 0. Throws
  /// Error(kInvalidArgument) if nothing fits into the mixture's tokens.
  Batch make(int64_t step) const;

 private:
  struct Making;

  void add_chains(Making& making) const;
  void add_reading(Making& making, int64_t end_tokens) const;
  bool add_named(const DrawnQuestion& question, Making& making) const;
  void add_naming(Making& making, int64_t end_tokens) const;
  void add_language(Making& making) const;

  std::vector<int32_t> draw_distractors(const DrawnQuestion& question, int64_t count,
                                        Making& making) const;
  bool write_naming(const DrawnQuestion& question, Making& making) const;
  bool write_hop(const DrawnQuestion& question, std::span<const int32_t> read, int32_t next,
                 Making& making) const;
  bool write_reading(const DrawnQuestion& question, bool is_by_hops, Making& making) const;
  bool write_no_answer(const DrawnQuestion& question, Making& making) const;

  bool fits(int64_t question_tokens, Making& making, int64_t answer_tokens = 0) const;
  void expect_not_held_back(int32_t document) const;

  const TrainCorpus& corpus_;
  const text::PromptLayout& layout_;
  const Mixture mixture_;
  const BatchMakerOptions options_;
  MemoryDrawer documents_;
  QuestionDrawer questions_;
  AloneSequences alone_;
  std::vector<std::vector<int32_t>> similar_;
};

}  // namespace msa::samples
