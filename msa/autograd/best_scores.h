#pragma once
// The best pair of question token and chunk, for every question and document. No gradients: they
// go through pair_scores.

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace msa::autograd {

struct BestScores {
  at::Tensor scores;  // [A, D] float32: the largest q . k of a question and a document
  at::Tensor token;   // [A, D] int64: the row of `queries` that gave it
  at::Tensor chunk;   // [A, D] int64: the row of `keys`
};

/// queries [Q, F], keys [C, F] of one type; query_offsets int32 [A + 1] from 0 to Q, chunk_offsets
/// int32 [D + 1] from 0 to C, both rising: every question has rows, every document chunks. Products
/// are summed and compared in float32; float64 is rounded to it. Questions are done in blocks, so
/// that scores take a bounded room. Of equal scores on the CPU the first token's, then the first
/// chunk's. A GPU needs longest_query and longest_document, the most rows of a question and chunks
/// of a document, or more; without them, 0, it reads the offsets, which waits for it.
BestScores best_scores(const at::Tensor& queries, const at::Tensor& query_offsets,
                       const at::Tensor& keys, const at::Tensor& chunk_offsets,
                       int64_t longest_query = 0, int64_t longest_document = 0);

/// The same as a GPU does it, on any device: questions and documents are padded to rectangles, and
/// no offset is read.
BestScores padded_best_scores(const at::Tensor& queries, const at::Tensor& query_offsets,
                              const at::Tensor& keys, const at::Tensor& chunk_offsets,
                              int64_t longest_query, int64_t longest_document);

}  // namespace msa::autograd
