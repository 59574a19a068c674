#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/device_gemm.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Shape {
  int64_t rows;
  int64_t outputs;
  int64_t columns;
};

/// Largest distance from the double sum, in units of 1 + the sum of all products' sizes, of every
/// `step`th row from the last on.
double worst_error(const Shape& s, NumberType out_type, bool adds, int64_t step = 1) {
  const auto x = rounded(random_floats(s.rows * s.columns, 1));
  const auto weight = rounded(random_floats(s.outputs * s.columns, 2));
  const auto before = random_floats(s.rows * s.outputs, 3);
  const auto device_x = to_device(x);
  const auto device_weight = to_device(weight);
  const bool is_float = out_type == NumberType::kFloat32;
  const auto out_float = to_device(before);
  const auto out_bf16 = to_device(rounded(before));
  const auto workspace = device_array<std::byte>(kDeviceGemmWorkspaceBytes);
  device_gemm_cuda({.x = device_x.get(),
                    .weight = device_weight.get(),
                    .out = is_float ? static_cast<void*>(out_float.get()) : out_bf16.get(),
                    .out_type = out_type,
                    .num_rows = s.rows,
                    .num_outputs = s.outputs,
                    .num_columns = s.columns,
                    .adds = adds},
                   workspace.get(), nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto floats = to_host(out_float, before.size());
  const auto halves = to_host(out_bf16, before.size());
  double worst = 0;
  for (int64_t t = s.rows - 1; t >= 0; t -= step) {
    for (int64_t m = 0; m < s.outputs; ++m) {
      const int64_t at = t * s.outputs + m;
      double sum = 0;
      if (adds) sum = is_float ? before[at] : to_float(to_bfloat16(before[at]));
      double size = 1 + std::abs(sum);
      for (int64_t k = 0; k < s.columns; ++k) {
        const double product = static_cast<double>(to_float(x[t * s.columns + k])) *
                               to_float(weight[m * s.columns + k]);
        sum += product;
        size += std::abs(product);
      }
      const double got = is_float ? floats[at] : to_float(halves[at]);
      const double error = std::abs(got - sum) / size;
      if (!(error <= worst)) worst = error;
    }
  }
  return worst;
}

TEST(DeviceGemmCuda, IsTheProductInBothTypesWithAndWithoutWhatWasThere) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const Shape& s : {Shape{1, 64, 64}, Shape{48, 640, 384}, Shape{257, 384, 1024}}) {
    for (const bool adds : {false, true}) {
      EXPECT_LT(worst_error(s, NumberType::kFloat32, adds), 1e-6) << s.rows;
      EXPECT_LT(worst_error(s, NumberType::kBFloat16, adds), 4e-3) << s.rows;
    }
  }
}

TEST(DeviceGemmCuda, ManyRowsAreTheProductToo) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  EXPECT_LT(worst_error({4400, 2048, 200}, NumberType::kFloat32, true, 97), 1e-6);
  EXPECT_LT(worst_error({4400, 2048, 200}, NumberType::kBFloat16, false, 97), 4e-3);
}

TEST(DeviceGemmCuda, ColumnsThatAreNotWhole16BytesAreRefused) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  EXPECT_THROW(
      device_gemm_cuda({.num_rows = 1, .num_outputs = 8, .num_columns = 12}, nullptr, nullptr),
      Error);
}

/// The way of a shape is found once, whoever asks first.
TEST(DeviceGemmCuda, ThreadsGetTheBitsOfOne) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kRows = 96;
  constexpr int64_t kColumns = 256;
  constexpr int kThreads = 4;
  const std::vector<int64_t> outputs{72, 136, 264, 520, 1032};  // shapes that nobody asked for yet
  const auto x = to_device(rounded(random_floats(kRows * kColumns, 11)));
  const auto weight = to_device(rounded(random_floats(outputs.back() * kColumns, 12)));
  std::vector<std::vector<std::vector<float>>> got(kThreads);
  const auto multiply_all = [&](std::vector<std::vector<float>>& results) {
    cudaStream_t stream = nullptr;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    const auto workspace = device_array<std::byte>(kDeviceGemmWorkspaceBytes);
    for (int repeat = 0; repeat < 5; ++repeat) {
      for (const int64_t count : outputs) {
        const auto out = device_array<float>(kRows * count);
        device_gemm_cuda({.x = x.get(),
                          .weight = weight.get(),
                          .out = out.get(),
                          .out_type = NumberType::kFloat32,
                          .num_rows = kRows,
                          .num_outputs = count,
                          .num_columns = kColumns},
                         workspace.get(), stream);
        ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
        results.push_back(to_host(out, kRows * count));
      }
    }
    cudaStreamDestroy(stream);
  };
  {
    std::vector<std::jthread> threads;
    for (auto& results : got) threads.emplace_back([&] { multiply_all(results); });
  }
  for (const auto& results : got) {
    ASSERT_EQ(results.size(), 5 * outputs.size());
    for (size_t i = 0; i < results.size(); ++i) ASSERT_EQ(results[i], got[0][i % outputs.size()]);
  }
}

}  // namespace
}  // namespace msa::kernels
