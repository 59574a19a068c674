#include "msa/autograd/pool_chunks.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(PoolChunksRule, EqualsADoubleLoopForShortAndEmptyChunks) {
  const std::vector<int32_t> offsets{0, 4, 8, 9, 9, 12};
  const auto x = random_tensor({12, 5}, 1);
  const auto a = values_of(x);
  std::vector<double> wanted;
  for (size_t c = 0; c + 1 < offsets.size(); ++c) {
    for (int64_t f = 0; f < 5; ++f) {
      double sum = 0;
      for (int64_t row = offsets[c]; row < offsets[c + 1]; ++row) sum += a[row * 5 + f];
      wanted.push_back(sum / std::max(1, offsets[c + 1] - offsets[c]));
    }
  }
  expect_near(pool_chunks(x, tensor_of(offsets)), wanted, 1e-12);
}

TEST(PoolChunksRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  for (const auto& offsets : {std::vector<int32_t>{0, 4, 8, 9, 9, 12}, std::vector<int32_t>{0, 1},
                              std::vector<int32_t>{0}}) {
    const Rule rule = [&](const Tensors& in) { return pool_chunks(in[0], tensor_of(offsets)); };
    expect_gradients(rule, {random_tensor({offsets.back(), 6}, 2)});
    expect_short_types(rule, {random_tensor({offsets.back(), 6}, 2)}, 1);
  }
}

TEST(PoolChunksRule, OffsetsThatAreNotThoseOfTheRowsAreRefused) {
  const auto x = random_tensor({10, 4}, 3);
  for (const auto& offsets :
       {std::vector<int32_t>{0, 9}, std::vector<int32_t>{1, 10}, std::vector<int32_t>{0, 11},
        std::vector<int32_t>{0, 6, 5, 10}, std::vector<int32_t>{}}) {
    expect_refused([&] { pool_chunks(x, tensor_of(offsets)); });
  }
  expect_refused([&] { pool_chunks(x, tensor_of<int64_t>({0, 10})); });
  expect_refused([&] { pool_chunks(x.view({10, 2, 2}), tensor_of<int32_t>({0, 10})); });
}

}  // namespace
}  // namespace msa::autograd
