#include "msa/ops/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <vector>

#include "msa/kernels/attention.h"
#include "msa/ops/rows.h"

namespace msa::ops {
namespace {

at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
               const int64_t* query_first, const int64_t* key_first, int64_t num_sequences,
               bool is_causal) {
  expect_floats(q, "attention q");
  expect_floats(k, "attention k");
  expect_floats(v, "attention v");
  MSA_CHECK(q.dim() == 3 && k.dim() == 3 && v.sizes() == k.sizes() && q.size(2) == k.size(2) &&
                k.size(1) > 0 && q.size(1) % k.size(1) == 0 &&
                q.size(2) <= kernels::kMaxAttentionDim,
            "attention: q must be [T, H, D], k and v [S, G, D] with H a multiple of G and D <= ",
            kernels::kMaxAttentionDim, ", got ", q.sizes(), ", ", k.sizes(), " and ", v.sizes());
  auto out = at::empty({q.size(0), q.size(1) * q.size(2)}, q.options());
  const kernels::AttentionParams params{
      .query = q.data_ptr<float>(),
      .key = k.data_ptr<float>(),
      .value = v.data_ptr<float>(),
      .out = out.data_ptr<float>(),
      .query_first = query_first,
      .key_first = key_first,
      .num_heads = q.size(1),
      .num_kv_heads = k.size(1),
      .head_dim = q.size(2),
      .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.size(2)))),
      .is_causal = is_causal};
  struct Block {
    int64_t sequence;
    int64_t first_query;
  };
  std::vector<Block> blocks;
  for (int64_t n = 0; n < num_sequences; ++n) {
    const int64_t num_queries = query_first[n + 1] - query_first[n];
    for (int64_t first = 0; first < num_queries; first += kernels::kAttentionBlock) {
      blocks.push_back({n, first});
    }
  }
  const int64_t num_kv_heads = k.size(1);
  parallel_for(static_cast<int64_t>(blocks.size()) * num_kv_heads, [&](int64_t i) {
    const Block& block = blocks[i / num_kv_heads];
    kernels::attention_block(params, block.sequence, block.first_query, i % num_kv_heads);
  });
  return out;
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     bool is_causal) {
  MSA_CHECK(q.dim() == 3 && k.dim() == 3 && q.size(0) <= k.size(0),
            "attention: q must be [T, H, D] and k [S, G, D] with T <= S, got ", q.sizes(), " and ",
            k.sizes());
  const std::array<int64_t, 2> query_first{0, q.size(0)};
  const std::array<int64_t, 2> key_first{0, k.size(0)};
  return run(q, k, v, query_first.data(), key_first.data(), 1, is_causal);
}

at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& offsets) {
  MSA_CHECK(q.dim() == 3 && k.dim() == 3 && q.size(0) == k.size(0),
            "packed_attention: q and k must be [S, heads, D] with one S, got ", q.sizes(), " and ",
            k.sizes());
  expect_offsets(offsets, q.size(0), "packed_attention offsets");
  const int64_t* first = offsets.data_ptr<int64_t>();
  return run(q, k, v, first, first, offsets.numel() - 1, true);
}

}  // namespace msa::ops
