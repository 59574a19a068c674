#include "msa/ops/pool_chunks.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "msa/kernels/pool_chunks.h"
#include "msa/ops/rows.h"

namespace msa::ops {

at::Tensor pool_chunks(const at::Tensor& x, const at::Tensor& offsets, int64_t chunk_tokens,
                       bool normalizes) {
  expect_floats(x, "pool_chunks x");
  MSA_CHECK(x.dim() == 3 && chunk_tokens > 0,
            "pool_chunks: x must be [S, G, D], chunk_tokens positive, got ", x.sizes(), ", ",
            chunk_tokens);
  expect_offsets(offsets, x.size(0), "pool_chunks offsets");
  const int64_t num_documents = offsets.numel() - 1;
  const int64_t* offset = offsets.data_ptr<int64_t>();
  std::vector<int64_t> first_chunk{0};
  for (int64_t n = 0; n < num_documents; ++n) {
    const int64_t length = offset[n + 1] - offset[n];
    first_chunk.push_back(first_chunk.back() + length / chunk_tokens +
                          (length % chunk_tokens != 0));
  }
  auto out = at::empty({first_chunk.back(), x.size(1), x.size(2)}, x.options());
  const kernels::PoolChunksParams params{.row = x.data_ptr<float>(),
                                         .offsets = offset,
                                         .first_chunk = first_chunk.data(),
                                         .pooled = out.data_ptr<float>(),
                                         .num_kv_heads = x.size(1),
                                         .head_dim = x.size(2),
                                         .chunk_tokens = chunk_tokens,
                                         .normalizes = normalizes};
  for_row_blocks(num_documents, 1,
                 [&](int64_t first, int64_t end) { kernels::pool_chunks(params, first, end); });
  return out;
}

}  // namespace msa::ops
