#pragma once
// Cross entropy of logits on the CPU, which become their own gradient.

#include <cstdint>

namespace msa::kernels {

/// loss[t] = log(sum of e^logits[t]) - logits[t][target[t]], and the gradient of the sum of
/// weight[t] * loss[t]: weight[t] * (softmax of logits[t] - one at target[t]).
struct CrossEntropyRows {
  float* logits = nullptr;          // [T, V], read; then the gradient is there, or rubbish
  const int64_t* target = nullptr;  // [T], in [0, V)
  const float* weight = nullptr;    // [T]; null: only the losses are wanted
  float* loss = nullptr;            // [T], written
  int64_t vocab_size = 0;           // V > 0
};
/// Rows [first, end): a caller shares them among threads.
void cross_entropy(const CrossEntropyRows& rows, int64_t first, int64_t end);

}  // namespace msa::kernels
