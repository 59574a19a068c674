#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/quantize_weights.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

/// Values of every size, zeros, a row of zeros, and equals of either sign.
std::vector<BFloat16> weights(int64_t rows, int64_t columns) {
  auto values = random_floats(rows * columns, 71);
  const auto sizes = random_floats(rows * columns, 72);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const int64_t row = i / columns;
    if (row % 5 == 1) values[i] *= std::exp2(8 * sizes[i]);
    if (row % 5 == 2) values[i] = i % 3 == 0 ? 0.25F : -0.25F;
    if (row % 5 == 3) values[i] *= 1e-37F;
    if (row % 5 == 4 && (i / 32 % 2 == 0 || row % 2 == 0)) values[i] = 0;
  }
  return rounded(values);
}

TEST(QuantizeWeightsCuda, MakesTheBytesThatTheCpuMakesOfContent) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    for (const int64_t columns : {16, 48, 256, 2560, 9744}) {
      const int64_t rows = 101;
      const auto weight = weights(rows, columns);
      const auto row_bytes = weight_layout(type, columns).row_bytes;
      std::vector<std::byte> wanted(rows * row_bytes);
      quantize_content({.row = widened(weight).data(),
                        .num_rows = rows,
                        .num_kv_heads = 1,
                        .head_dim = columns,
                        .type = content_type_of(type),
                        .out = wanted.data()});
      const auto device_weight = to_device(weight);
      const auto out = to_device(std::vector<std::byte>(wanted.size(), std::byte{0x55}));
      quantize_weights_cuda({.weight = device_weight.get(),
                             .rows = out.get(),
                             .type = type,
                             .num_rows = rows,
                             .num_columns = columns},
                            nullptr);
      const auto got = to_host(out, wanted.size());
      for (int64_t i = 0; i < rows * row_bytes; ++i) {
        ASSERT_EQ(got[i], wanted[i]) << name_of(type) << " of " << columns << " columns, row "
                                     << i / row_bytes << ", byte " << i % row_bytes;
      }
    }
  }
}

TEST(QuantizeWeightsCuda, SizesAndTypesOutsideTheRangesAreRefused) {
  const QuantizeWeightsParams good{.num_rows = 1, .num_columns = 16};
  auto params = good;
  params.num_columns = 24;
  EXPECT_THROW(quantize_weights_cuda(params, nullptr), Error);
  params = good;
  params.num_rows = 0;
  EXPECT_THROW(quantize_weights_cuda(params, nullptr), Error);
  params = good;
  params.type = WeightType::kBFloat16;
  EXPECT_THROW(quantize_weights_cuda(params, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
