#include <cmath>

#include "msa/kernels/cross_entropy.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

template <int kLanes>
MSA_INLINE void cross_entropy_lanes(const CrossEntropyRows& p, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    float* logits = p.logits + t * p.vocab_size;
    const float chosen = logits[p.target[t]];
    float highest = logits[0];
#pragma omp simd reduction(max : highest)
    for (int64_t v = 0; v < p.vocab_size; ++v) highest = logits[v] > highest ? logits[v] : highest;
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t v = 0; v < p.vocab_size; ++v) {
      logits[v] = fast_exp(logits[v] - highest);
      total += logits[v];
    }
    p.loss[t] = std::log(total) + highest - chosen;
    if (p.weight == nullptr) continue;
    const float factor = p.weight[t] / total;
    for (int64_t v = 0; v < p.vocab_size; ++v) logits[v] *= factor;
    logits[p.target[t]] -= p.weight[t];
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(cross_entropy, (const CrossEntropyRows& rows, int64_t first, int64_t end),
                    (rows, first, end))

}  // namespace msa::kernels
