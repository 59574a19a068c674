#include "msa/ops/pool_chunks.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "msa/ops/test_tensors.h"

namespace msa::ops {
namespace {

TEST(PoolChunksOp, EqualsADoubleLoopOverDocumentsOfAnyLength) {
  const std::vector<int64_t> offsets{0, 1, 8, 8, 21};
  const int64_t width = 2 * 5;
  const auto x = random_tensor({21, 2, 5}, 1);
  const auto rows = values_of(x);
  for (const int64_t chunk : {1, 3, 7, 100}) {
    for (const bool normalizes : {false, true}) {
      std::vector<double> wanted;
      for (size_t n = 0; n + 1 < offsets.size(); ++n) {
        for (int64_t begin = offsets[n]; begin < offsets[n + 1]; begin += chunk) {
          const int64_t end = std::min(begin + chunk, offsets[n + 1]);
          for (int64_t g = 0; g < 2; ++g) {
            std::vector<double> mean(5);
            double squares = 0;
            for (int64_t d = 0; d < 5; ++d) {
              for (int64_t s = begin; s < end; ++s) mean[d] += rows[s * width + g * 5 + d];
              mean[d] /= static_cast<double>(end - begin);
              squares += mean[d] * mean[d];
            }
            for (const double value : mean) {
              wanted.push_back(normalizes ? value / std::sqrt(squares) : value);
            }
          }
        }
      }
      const auto out = pool_chunks(x, offsets_of(offsets), chunk, normalizes);
      EXPECT_EQ(out.dim(), 3);
      expect_near(out, wanted, 2e-6);
    }
  }
}

TEST(PoolChunksOp, NoDocumentsHaveNoChunks) {
  const auto none = at::empty({0, 2, 5}, at::kFloat);
  EXPECT_EQ(pool_chunks(none, offsets_of({0}), 4, true).size(0), 0);
  EXPECT_EQ(pool_chunks(none, offsets_of({0, 0, 0}), 4, true).size(0), 0);
}

TEST(PoolChunksOp, OffsetsThatAreNotThoseOfTheRowsAreRefused) {
  const auto x = random_tensor({10, 2, 4}, 2);
  for (const auto& offsets : wrong_offsets(10)) {
    expect_refused([&] { pool_chunks(x, offsets, 4, false); });
  }
  expect_refused([&] { pool_chunks(random_tensor({4, 2, 4}, 3), offsets_of({0, 10}), 4, false); });
}

TEST(PoolChunksOp, ShapesAndTypesThatDoNotFitAreRefused) {
  const auto x = random_tensor({10, 2, 4}, 3);
  const auto offsets = offsets_of({0, 10});
  expect_refused([&] { pool_chunks(x, offsets, 0, false); });
  expect_refused([&] { pool_chunks(x, offsets, -1, false); });
  expect_refused([&] { pool_chunks(x.view({10, 8}), offsets, 4, false); });
  expect_refused([&] { pool_chunks(x.to(at::kDouble), offsets, 4, false); });
  expect_refused([&] { pool_chunks(x.transpose(1, 2), offsets, 4, false); });
}

}  // namespace
}  // namespace msa::ops
