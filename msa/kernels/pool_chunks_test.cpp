#include "msa/kernels/pool_chunks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

TEST(PoolChunks, ShortLastChunksAverageOnlyTheirOwnRows) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const std::vector<int64_t> lengths{1, 16, 17, 0, 40};
    std::vector<int64_t> offsets{0};
    std::vector<int64_t> first_chunk{0};
    for (const int64_t length : lengths) {
      offsets.push_back(offsets.back() + length);
      first_chunk.push_back(first_chunk.back() + (length + 15) / 16);
    }
    const int64_t width = 3 * 10;
    const auto rows = random_floats(offsets.back() * width, 7);
    for (const bool normalizes : {false, true}) {
      std::vector<float> pooled(first_chunk.back() * width, NAN);
      pool_chunks({.row = rows.data(),
                   .offsets = offsets.data(),
                   .first_chunk = first_chunk.data(),
                   .pooled = pooled.data(),
                   .num_kv_heads = 3,
                   .head_dim = 10,
                   .chunk_tokens = 16,
                   .normalizes = normalizes},
                  0, 5);
      for (size_t n = 0; n < lengths.size(); ++n) {
        for (int64_t c = 0; c < first_chunk[n + 1] - first_chunk[n]; ++c) {
          const int64_t begin = offsets[n] + c * 16;
          const int64_t end = std::min(begin + 16, offsets[n + 1]);
          for (int64_t g = 0; g < 3; ++g) {
            std::vector<double> mean(10);
            double squares = 0;
            for (int64_t d = 0; d < 10; ++d) {
              for (int64_t s = begin; s < end; ++s) mean[d] += rows[s * width + g * 10 + d];
              mean[d] /= static_cast<double>(end - begin);
              squares += mean[d] * mean[d];
            }
            for (int64_t d = 0; d < 10; ++d) {
              const double wanted = normalizes ? mean[d] / std::sqrt(squares) : mean[d];
              EXPECT_NEAR(pooled[(first_chunk[n] + c) * width + g * 10 + d], wanted, 2e-6);
            }
          }
        }
      }
    }
  });
}

TEST(PoolChunks, ARangeOfDocumentsWritesOnlyItsOwnChunks) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const std::vector<int64_t> offsets{0, 9, 9, 30};
    const std::vector<int64_t> first_chunk{0, 3, 3, 9};
    const auto rows = random_floats(30 * 8, 71);
    constexpr float kUntouched = -12345;
    std::vector<float> pooled(9 * 8, kUntouched);
    const PoolChunksParams params{.row = rows.data(),
                                  .offsets = offsets.data(),
                                  .first_chunk = first_chunk.data(),
                                  .pooled = pooled.data(),
                                  .num_kv_heads = 2,
                                  .head_dim = 4,
                                  .chunk_tokens = 4};
    pool_chunks(params, 0, 2);
    for (int64_t i = 0; i < 9 * 8; ++i) EXPECT_EQ(pooled[i] != kUntouched, i < 3 * 8) << i;
    const std::vector<float> before = pooled;
    pool_chunks(params, 2, 3);
    for (int64_t i = 0; i < 9 * 8; ++i) EXPECT_EQ(pooled[i] != before[i], i >= 3 * 8) << i;
  });
}

}  // namespace
}  // namespace msa::kernels
