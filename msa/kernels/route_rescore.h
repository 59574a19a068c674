#pragma once
// The second step of routing with rounded queries: scores that can matter, without rounding.

#include "msa/kernels/route_scores.h"

namespace msa::kernels {

/// What a scan with rounded queries found.
struct ScannedScores {
  const float* chunk = nullptr;  // [C]
  float* reach = nullptr;        // [C], at least the score in float32; used up
  float* document = nullptr;     // [N], the largest of its chunks, read and written
};

/// `params.selected` holds the k best scanned documents. Afterwards the document scores of all that
/// are among the k best in float32 (and of all that tie with the last of them) are those of
/// float32; every other one is lower than these. What is scored again does not depend on the number
/// of threads. Runs on all threads.
void rescore(const RouteScoresParams& params, const ScannedScores& scanned);

}  // namespace msa::kernels
