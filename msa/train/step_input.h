#pragma once
// A batch as tensors on the device that computes.

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "msa/autograd/best_scores.h"
#include "msa/samples/batch.h"

namespace msa::train {

/// How much each loss term counts in a step; a term of weight 0 costs nothing.
struct TermWeights {
  std::array<double, samples::kNumLossTerms> term{};  // by samples::LossTerm
  double auxiliary = 0;
};

/// Targets whose term has weight.
int64_t num_learned(const samples::Targets& targets, const TermWeights& weights);

/// Over all batches of a step: what the terms' sums are divided by.
struct LossTotals {
  std::array<double, samples::kNumLossTerms> weight{};  // sum of the targets' weights
  int64_t num_routed = 0;                               // questions with gold documents

  void add(const samples::Batch& batch);
};

/// Token sequences side by side.
struct PackedInput {
  at::Tensor tokens;     // [N] int64
  at::Tensor positions;  // [N] int64
  at::Tensor offsets;    // [S + 1] int32
  int64_t longest = 0;
};

/// Whole documents that are encoded together: [first, end) of each.
struct EncodingPass {
  int64_t first_document = 0;
  int64_t end_document = 0;
  int64_t first_token = 0;
  int64_t end_token = 0;
  int64_t first_chunk = 0;
  int64_t end_chunk = 0;
  int64_t first_target = 0;  // of document_target_rows
  int64_t end_target = 0;
  int64_t longest = 0;  // tokens of the longest document
};

/// The prompt head is sequence 0 of `sequences` here, so that it is computed beside the others; the
/// batch's own sequence s is s + 1 and its rows begin behind the head's.
struct StepInput {
  PackedInput documents;
  at::Tensor chunk_offsets;     // [C + 1] int32, into the documents' tokens
  at::Tensor document_offsets;  // [Dn + 1] int32, into chunks
  int64_t most_chunks = 0;      // of one document
  int64_t num_documents = 0;
  std::vector<EncodingPass> passes;  // all documents, in order

  PackedInput sequences;
  int64_t num_asking = 0;  // A: sequences 1 .. A
  int64_t num_head_tokens = 0;

  at::Tensor query_rows;               // [Q] int64, of the sequences' tokens
  autograd::QuestionBlocks questions;  // of query_rows
  at::Tensor is_gold;                  // [A, Dn] bool
  at::Tensor routed;                   // [<= A] int64: those with gold
  int64_t most_gold = 0;               // of one question

  at::Tensor document_target_rows;  // [m] int64, of the documents' tokens
  at::Tensor target_rows;           // [n] int64, of the sequences' tokens
  // Those of documents first.
  at::Tensor target_tokens;   // [m + n] int64
  at::Tensor target_weights;  // [m + n] float32: the term's weight times its own over its total
  at::Tensor target_terms;    // [m + n] int64
  at::Tensor target_shares;   // [m + n] float32: its own over the term's total

  int64_t num_document_targets() const {
    return document_target_rows.defined() ? document_target_rows.size(0) : 0;
  }
};

constexpr int64_t kTokensOfPass = 262144;  // a longer document is a pass by itself

/// `chunk_tokens`: P. Targets of terms without weight are left out. The batch has been checked.
/// Documents are encoded `pass_tokens` at a time.
StepInput step_input(const samples::Batch& batch, int64_t chunk_tokens, const TermWeights& weights,
                     const LossTotals& totals, at::Device device,
                     int64_t pass_tokens = kTokensOfPass);

/// The two halves of step_input, for several batches of sequences over the same documents: the
/// second is for an input, or the copy of one, that the first has filled.
void read_documents(const samples::Batch& batch, int64_t chunk_tokens, at::Device device,
                    StepInput& input, int64_t pass_tokens = kTokensOfPass);
void read_sequences(const samples::Batch& batch, const TermWeights& weights,
                    const LossTotals& totals, at::Device device, StepInput& input);

}  // namespace msa::train
