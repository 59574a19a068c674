#pragma once
// The best of a list of scores.

#include <span>

#include "msa/kernels/route_scores.h"

namespace msa::kernels {

/// Fills `selected` (no longer than `scores`) with the largest scores, best first, ties by lower
/// place.
void select_top_documents(std::span<const float> scores, std::span<ScoredDocument> selected);

}  // namespace msa::kernels
