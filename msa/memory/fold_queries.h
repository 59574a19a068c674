#pragma once
// Routing queries of many heads as one vector a token, where the rule allows it.

#include <vector>

#include "msa/memory/chunk_source.h"

namespace msa::memory {

/// q~ [T, F] with q~ . k~ = scale * mean over heads of Q^R[t, h] . K^R[c, g(h)]: the head mean
/// commutes with the product, and so does a mean over tokens. The rule is_folded(). T is that of
/// the query, or 1 where its rule is over the mean or the last token only.
std::vector<float> fold_queries(const RoutingQuery& query, const MemoryShape& shape);

}  // namespace msa::memory
