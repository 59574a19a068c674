#pragma once
// Cross entropy of logits on a GPU, which become their own gradient.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// loss[t] = log(sum of e^logits[t]) - logits[t][target[t]], and the gradient of the sum of
/// weight[t] * loss[t]: weight[t] * (softmax of logits[t] - one at target[t]). Every pointer is to
/// device memory, 16-byte aligned.
struct TokenLossParams {
  BFloat16* logits = nullptr;       // [T, V], read; then the gradient is there
  const int64_t* target = nullptr;  // [T], below V; negative: loss and gradient are zeros
  const float* weight = nullptr;    // [T]; null: logits stay, only the loss is wanted
  float* loss = nullptr;            // [T], written
  int64_t num_tokens = 0;           // T
  int64_t vocab_size = 0;           // V, a multiple of 8
};
/// Queues its work and returns; of no tokens nothing is launched. Rows are read and written once,
/// on Hopper up to 327,680 logits, before it up to 40,960; longer ones are read twice. Repeats bit
/// for bit on one kind of GPU. Throws Error(kInvalidArgument) for other V, Error(kDevice) if it
/// cannot be launched.
void token_loss_cuda(const TokenLossParams& params, CudaStream stream);

}  // namespace msa::kernels
