#pragma once
// The best pair of question token and chunk, for every question and document. No gradients: they
// go through pair_scores.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace msa::autograd {

struct BestScores {
  at::Tensor scores;  // [A, D] float32: the largest q . k of a question and a document
  at::Tensor token;   // [A, D] int64: the row of `queries` that gave it
  at::Tensor chunk;   // [A, D] int64: the row of `keys`
};

/// How questions are done on a GPU: in blocks of about one length, so that padding them to the
/// longest of a block adds little, and scores take a bounded room.
struct QuestionBlocks {
  at::Tensor offsets;  // [A + 1] int32 on the CPU: question a has rows offsets[a] .. offsets[a + 1]
  struct Block {
    int64_t num_questions = 0;
    int64_t longest = 0;  // rows of its longest question
  };
  std::vector<Block> blocks;  // from short to long
  at::Tensor questions;       // [A] int64, of the blocks one after the other
  at::Tensor rows;            // int64: of each block num_questions times longest rows, where a
                              // question has less its last one again
};

/// offsets from 0 on rise: every question has rows. `num_chunks` is what they will be asked over.
QuestionBlocks question_blocks(std::span<const int32_t> offsets, int64_t num_chunks,
                               at::Device device);

/// queries [Q, F], keys [C, F] of one type on the device of the blocks; chunk_offsets int32 [D + 1]
/// from 0 to C, rising: every document has chunks, `most_chunks` or less. Products are summed and
/// compared in float32; float64 is rounded to it. Of equal scores on the CPU the first token's,
/// then the first chunk's. Does not wait for a GPU.
BestScores best_scores(const at::Tensor& queries, const QuestionBlocks& questions,
                       const at::Tensor& keys, const at::Tensor& chunk_offsets,
                       int64_t most_chunks);

/// The same as a GPU does it, on any device.
BestScores padded_best_scores(const at::Tensor& queries, const QuestionBlocks& questions,
                              const at::Tensor& keys, const at::Tensor& chunk_offsets,
                              int64_t most_chunks);

}  // namespace msa::autograd
