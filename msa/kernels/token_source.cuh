#pragma once
// Which of the given tokens stands at a place among those that are filled up.

#include <cuda_runtime.h>

#include "msa/kernels/route_batch_parts.h"

namespace msa::kernels {

struct TokenSource {
  int question;
  int64_t token;  // of all given

  __device__ TokenSource(const TokenSpans& spans, int place) : question(0) {
    while (spans.filled[question + 1] <= place) ++question;
    const int last = spans.given[question + 1] - 1;
    token = min(spans.given[question] + place - spans.filled[question], last);
  }
};

}  // namespace msa::kernels
