#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Shape {
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t chunk_tokens;
};

TEST(PoolChunksCuda, EqualsTheCpu) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const std::vector<int64_t> lengths{1, 64, 0, 65, 500, 3, 128, 0};
  for (const Shape& shape : {Shape{8, 128, 64}, Shape{2, 64, 16}, Shape{3, 10, 7}}) {
    std::vector<int64_t> offsets{0};
    std::vector<int64_t> first_chunk{0};
    for (const int64_t length : lengths) {
      offsets.push_back(offsets.back() + length);
      first_chunk.push_back(first_chunk.back() +
                            (length + shape.chunk_tokens - 1) / shape.chunk_tokens);
    }
    const auto num_documents = static_cast<int64_t>(lengths.size());
    const int64_t width = shape.num_kv_heads * shape.head_dim;
    const auto rows = random_floats(offsets.back() * width, 11);
    for (const bool normalizes : {false, true}) {
      std::vector<float> wanted(first_chunk.back() * width, NAN);
      PoolChunksParams params{.row = rows.data(),
                              .offsets = offsets.data(),
                              .first_chunk = first_chunk.data(),
                              .pooled = wanted.data(),
                              .num_kv_heads = shape.num_kv_heads,
                              .head_dim = shape.head_dim,
                              .chunk_tokens = shape.chunk_tokens,
                              .normalizes = normalizes};
      pool_chunks(params, 0, num_documents);

      std::vector<float> got(wanted.size(), NAN);
      const auto device_rows = to_device(rows);
      const auto device_offsets = to_device(offsets);
      const auto device_first_chunk = to_device(first_chunk);
      const auto device_pooled = to_device(got);  // NaN where nothing is written
      params.row = device_rows.get();
      params.offsets = device_offsets.get();
      params.first_chunk = device_first_chunk.get();
      params.pooled = device_pooled.get();
      pool_chunks_cuda(params, num_documents, first_chunk.back(), nullptr);
      got = to_host(device_pooled, got.size());
      for (size_t i = 0; i < got.size(); ++i) {
        const float tolerance = normalizes ? 1e-6F : 0.0F;
        ASSERT_NEAR(got[i], wanted[i], tolerance)
            << "at " << i << " of " << width << " columns, P = " << shape.chunk_tokens;
      }
    }
  }
}

}  // namespace
}  // namespace msa::kernels
