#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/device_gemv.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr float kEps = 1e-6F;

// A sum of K float32 products: absolute, of the length of the row times that of x.
constexpr double kTolerance = 1e-6;

// Quantised rows meet an x whose values are whole multiples of the largest of 16 / 32639.
constexpr int64_t kSharingColumns = 16;
constexpr double kHalfStep = 0.5 / 32639;

struct GemvShape {
  int64_t num_rows;
  int64_t num_columns;
};

struct GemvFlags {
  WeightType type;
  bool is_normed;
  bool is_gated;
  bool adds;
};

/// Weights, x, and what stood in y.
class GemvCase {
 public:
  GemvCase(const GemvShape& shape, const GemvFlags& flags) : shape_(shape), flags_(flags) {
    const int64_t lines = shape.num_rows * (flags.is_gated ? 2 : 1);
    weight_ = random_floats(lines * shape.num_columns, 41);
    const ContentType type = content_type_of(flags.type);
    row_bytes_ = weight_layout(flags.type, shape.num_columns).row_bytes;
    rows_.resize(lines * row_bytes_);
    quantize_content({.row = weight_.data(),
                      .num_rows = lines,
                      .num_kv_heads = 1,
                      .head_dim = shape.num_columns,
                      .type = type,
                      .out = rows_.data()});
    dequantize_content({.row = rows_.data(),
                        .num_rows = lines,
                        .num_kv_heads = 1,
                        .head_dim = shape.num_columns,
                        .type = type,
                        .out = weight_.data()});
    x_ = random_floats(shape.num_columns, 43, 2);
    norm_ = random_floats(shape.num_columns, 44);
    y_ = random_floats(shape.num_rows, 45);
  }

  /// Runs on the device; y is written and returned unless `has_y` is false.
  std::vector<float> run(bool has_y = true, int32_t* token = nullptr) {
    const auto rows = to_device(rows_);
    const auto x = to_device(x_);
    const auto norm = to_device(norm_);
    const auto y = to_device(flags_.adds ? y_ : std::vector<float>(shape_.num_rows, NAN));
    const auto device_token = to_device(std::vector<int32_t>{-1});
    const auto workspace = to_device(std::vector<std::byte>(kTokenWorkspaceBytes));
    gemv_cuda({.weight = rows.get(),
               .type = flags_.type,
               .x = x.get(),
               .norm = flags_.is_normed ? norm.get() : nullptr,
               .eps = kEps,
               .y = has_y ? y.get() : nullptr,
               .num_rows = shape_.num_rows,
               .num_columns = shape_.num_columns,
               .is_gated = flags_.is_gated,
               .adds = flags_.adds,
               .token = token == nullptr ? nullptr : device_token.get(),
               .token_workspace = workspace.get()},
              nullptr);
    if (token != nullptr) *token = to_host(device_token, 1)[0];
    for (const std::byte left : to_host(workspace, kTokenWorkspaceBytes)) {
      EXPECT_EQ(left, std::byte{0});
    }
    return to_host(y, shape_.num_rows);
  }

  void compare_with_double_loop() {
    std::vector<double> x(x_.begin(), x_.end());
    double squares = 0;
    for (const double value : x) squares += value * value;
    const auto count = static_cast<double>(shape_.num_columns);
    const double factor = 1 / std::sqrt(squares / count + kEps);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= flags_.is_normed ? factor * norm_[i] : 1;
    const auto got = run();
    for (int64_t r = 0; r < shape_.num_rows; ++r) {
      double allowed = 0;
      double wanted = line(r, x, allowed);
      if (flags_.is_gated) {
        double up_allowed = 0;
        const double up = line(shape_.num_rows + r, x, up_allowed);
        const double gate = wanted / (1 + std::exp(-wanted));
        allowed = 1.2 * allowed * (std::abs(up) + up_allowed) + up_allowed * std::abs(gate) + 1e-9;
        wanted = gate * up;
      }
      if (flags_.adds) wanted += y_[r];
      ASSERT_LE(std::abs(got[r] - wanted), allowed + 1e-6)
          << "row " << r << " of " << shape_.num_rows << " x " << shape_.num_columns << " "
          << name_of(flags_.type) << ", normed " << flags_.is_normed << ", gated "
          << flags_.is_gated << ", adds " << flags_.adds << ": " << got[r] << ", wanted " << wanted;
    }
  }

  /// Row `row` of a bfloat16 matrix has a NaN.
  void spoil_row(int64_t row) {
    const BFloat16 nan{static_cast<uint16_t>(0xffc0)};
    std::memcpy(rows_.data() + row * row_bytes_ + 5 * sizeof nan, &nan, sizeof nan);
  }
  void set_x(int64_t column, float value) { x_[column] = value; }

  /// Row `to` becomes a copy of row `from`.
  void copy_row(int64_t from, int64_t to) {
    std::copy_n(rows_.begin() + from * row_bytes_, row_bytes_, rows_.begin() + to * row_bytes_);
  }

 private:
  double line(int64_t row, const std::vector<double>& x, double& allowed) const {
    double sum = 0;
    double row_squares = 0;
    double x_squares = 0;
    double rounded_off = 0;
    for (size_t first = 0; first < x.size(); first += kSharingColumns) {
      const size_t end = std::min(x.size(), first + kSharingColumns);
      double largest = 0;
      double row_size = 0;
      for (size_t k = first; k < end; ++k) {
        const double weight = weight_[row * shape_.num_columns + k];
        sum += weight * x[k];
        row_squares += weight * weight;
        x_squares += x[k] * x[k];
        largest = std::max(largest, std::abs(x[k]));
        row_size += std::abs(weight);
      }
      rounded_off += kHalfStep * largest * row_size;
    }
    allowed = kTolerance * std::sqrt(row_squares * x_squares);
    if (flags_.type != WeightType::kBFloat16) allowed += rounded_off;
    return sum;
  }

  GemvShape shape_;
  GemvFlags flags_;
  int64_t row_bytes_ = 0;
  std::vector<std::byte> rows_;
  std::vector<float> weight_;  // as they count
  std::vector<float> x_;
  std::vector<float> norm_;
  std::vector<float> y_;
};

TEST(DeviceGemvCuda, EqualsADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  // One for every division of a row among threads, shares of no, one and several stages, tails.
  for (const GemvShape& shape :
       {GemvShape{1, 16}, GemvShape{5, 64}, GemvShape{700, 272}, GemvShape{135, 2048},
        GemvShape{667, 2560}, GemvShape{1031, 4096}, GemvShape{300, 9728}, GemvShape{133, 10256},
        GemvShape{140, 12304}, GemvShape{20, 17408}, GemvShape{3, 32768}}) {
    for (const WeightType type : {WeightType::kBFloat16, WeightType::kInt8, WeightType::kInt4}) {
      for (const bool is_gated : {false, true}) {
        for (const bool is_normed : {false, true}) {
          GemvCase(shape, {type, is_normed, is_gated, !is_gated && !is_normed})
              .compare_with_double_loop();
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
  GemvCase({150, 2568}, {WeightType::kBFloat16, true, true, true}).compare_with_double_loop();
  GemvCase({133, 9744}, {WeightType::kInt4, false, false, true}).compare_with_double_loop();
  GemvCase({40000, 16}, {WeightType::kInt4, true, false, false}).compare_with_double_loop();
  GemvCase({40000, 8}, {WeightType::kBFloat16, true, false, false}).compare_with_double_loop();
}

TEST(DeviceGemvCuda, RepeatsBitForBit) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const WeightType type : {WeightType::kBFloat16, WeightType::kInt8, WeightType::kInt4}) {
    for (const GemvShape& shape : {GemvShape{1000, 2560}, GemvShape{400, 9728}}) {
      GemvCase gemv(shape, {type, true, false, true});
      const auto first = gemv.run();
      for (int i = 0; i < 5; ++i) {
        const auto again = gemv.run();
        ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0);
      }
    }
  }
}

/// The others are as exact as without it, but for those that share its scale.
TEST(DeviceGemvCuda, QuantizedRowsMeetOneLargeValueInX) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    GemvCase gemv({200, 2560}, {type, false, false, false});
    gemv.set_x(70, 300);
    gemv.compare_with_double_loop();
  }
}

TEST(DeviceGemvCuda, WhatIsNoNumberStaysNone) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const WeightType type : {WeightType::kBFloat16, WeightType::kInt8, WeightType::kInt4}) {
    for (const float value : {NAN, INFINITY}) {
      for (const bool is_normed : {false, true}) {
        GemvCase gemv({40, 512}, {type, is_normed, false, false});
        gemv.set_x(100, value);
        for (const float y : gemv.run()) EXPECT_FALSE(std::isfinite(y)) << name_of(type);
      }
    }
  }
}

TEST(DeviceGemvCuda, TheTokenIsTheLargestAndTheLowestOfEquals) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const GemvShape shape{40001, 256};
  GemvCase gemv(shape, {WeightType::kBFloat16, true, false, false});
  const auto largest_of = [](const std::vector<float>& y) {
    return static_cast<int32_t>(std::max_element(y.begin(), y.end()) - y.begin());
  };
  int32_t token = -1;
  const auto best = largest_of(gemv.run(true, &token));
  EXPECT_EQ(token, best);
  // Equals in other blocks, first above and then below.
  gemv.copy_row(best, shape.num_rows - 1);
  gemv.copy_row(best, 39000);
  gemv.run(false, &token);
  EXPECT_EQ(token, best);
  gemv.copy_row(best, 3);
  gemv.copy_row(best, 4);
  gemv.run(false, &token);
  EXPECT_EQ(token, std::min(best, 3));
}

TEST(DeviceGemvCuda, ANanAmongTheRowsGivesNoToken) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t row : {0, 700, 40000}) {
    GemvCase gemv({40001, 256}, {WeightType::kBFloat16, true, false, false});
    gemv.spoil_row(row);
    int32_t token = 0;
    gemv.run(false, &token);
    EXPECT_EQ(token, -1) << row;
  }
}

/// Products that feed one another, as the layers of a step do: a gap in what a kernel waits for
/// would show as a change between replays.
TEST(DeviceGemvCuda, AChainInAGraphEqualsTheSameOneByOne) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kDim = 1280;
  constexpr int kLinks = 24;
  const auto weight = to_device(rounded(random_floats(kDim * kDim, 51, 0.05F)));
  const auto gates = to_device(rounded(random_floats(2 * kDim * kDim, 52, 0.05F)));
  const auto norm = to_device(random_floats(kDim, 53));
  const auto start = random_floats(kDim, 54);
  const auto x = to_device(start);
  const auto middle = to_device(std::vector<float>(kDim));
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const auto queue = [&](bool waits) {
    for (int link = 0; link < kLinks; ++link) {
      gemv_cuda({.weight = gates.get(),
                 .x = x.get(),
                 .norm = norm.get(),
                 .eps = kEps,
                 .y = middle.get(),
                 .num_rows = kDim,
                 .num_columns = kDim,
                 .is_gated = true},
                stream);
      if (waits) {
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      }
      gemv_cuda({.weight = weight.get(),
                 .x = middle.get(),
                 .y = x.get(),
                 .num_rows = kDim,
                 .num_columns = kDim,
                 .adds = true},
                stream);
      if (waits) {
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      }
    }
  };
  queue(true);
  const auto wanted = to_host(x, kDim);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  queue(false);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(cudaMemcpy(x.get(), start.data(), kDim * sizeof(float), cudaMemcpyHostToDevice),
              cudaSuccess);
    ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    const auto got = to_host(x, kDim);
    ASSERT_EQ(std::memcmp(got.data(), wanted.data(), kDim * sizeof(float)), 0) << "replay " << i;
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(DeviceGemvCuda, ShapesOutsideTheRangesAreRefused) {
  float y = 0;
  const DeviceGemvParams good{.y = &y, .num_rows = 1, .num_columns = 16};
  auto params = good;
  params.num_columns = 12;
  EXPECT_THROW(gemv_cuda(params, nullptr), Error);
  params.num_columns = kLongestGemvRow + 16;
  EXPECT_THROW(gemv_cuda(params, nullptr), Error);
  params = good;
  params.type = WeightType::kInt8;
  params.num_columns = 24;
  EXPECT_THROW(gemv_cuda(params, nullptr), Error);
  params = good;
  params.y = nullptr;
  EXPECT_THROW(gemv_cuda(params, nullptr), Error);
  params = good;
  params.num_rows = 0;
  EXPECT_THROW(gemv_cuda(params, nullptr), Error);
}

}  // namespace
}  // namespace msa::kernels
