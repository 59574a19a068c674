#include "msa/memory/fold_queries.h"

namespace msa::memory {

std::vector<float> fold_queries(const RoutingQuery& query, const MemoryShape& shape) {
  const int64_t group = query.num_heads / shape.num_kv_heads;
  const int64_t stride = query.num_heads * shape.head_dim;
  const int64_t width = shape.key_dim();
  const bool is_mean = query.rule.query == QueryReduce::kMean;
  const int64_t first = query.rule.query == QueryReduce::kLast ? query.num_tokens - 1 : 0;
  std::vector<float> folded((is_mean ? 1 : query.num_tokens - first) * width);
  float factor = query.rule.scale / static_cast<float>(query.num_heads);
  if (is_mean) factor /= static_cast<float>(query.num_tokens);
  for (int64_t t = first; t < query.num_tokens; ++t) {
    float* out = folded.data() + (is_mean ? 0 : t - first) * width;
    for (int64_t h = 0; h < query.num_heads; ++h) {
      const float* head = query.values + t * stride + h * shape.head_dim;
      float* target = out + h / group * shape.head_dim;
      for (int64_t d = 0; d < shape.head_dim; ++d) target[d] += factor * head[d];
    }
  }
  return folded;
}

}  // namespace msa::memory
