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

struct GemvShape {
  int64_t num_rows;
  int64_t num_columns;
};

struct GemvFlags {
  NumberType type;
  bool is_normed;
  bool is_gated;
  bool adds;
};

/// Weights as they are stored and as they count, x, and what stood in y.
class GemvCase {
 public:
  GemvCase(const GemvShape& shape, const GemvFlags& flags) : shape_(shape), flags_(flags) {
    const int64_t lines = shape.num_rows * (flags.is_gated ? 2 : 1);
    auto values = random_floats(lines * shape.num_columns, 41);
    if (flags.type == NumberType::kInt8) {
      scale_ = random_floats(lines, 42, 0.01F);
      for (size_t i = 0; i < values.size(); ++i) {
        const float steps = std::clamp(std::round(values[i] * 50), -128.0F, 127.0F);
        int8_.push_back(static_cast<int8_t>(steps));
        weight_.push_back(scale_[i / shape.num_columns] * steps);
      }
    } else {
      bfloat16_ = rounded(values);
      weight_ = widened(bfloat16_);
    }
    x_ = random_floats(shape.num_columns, 43, 2);
    norm_ = random_floats(shape.num_columns, 44);
    y_ = random_floats(shape.num_rows, 45);
  }

  /// Runs on the device; y is written and returned unless `has_y` is false.
  std::vector<float> run(bool has_y = true, int32_t* token = nullptr) {
    const auto int8 = to_device(int8_);
    const auto bfloat16 = to_device(bfloat16_);
    const auto scale = to_device(scale_);
    const auto x = to_device(x_);
    const auto norm = to_device(norm_);
    const auto y = to_device(flags_.adds ? y_ : std::vector<float>(shape_.num_rows, NAN));
    const auto device_token = to_device(std::vector<int32_t>{-1});
    const auto workspace = to_device(std::vector<std::byte>(kTokenWorkspaceBytes));
    const bool is_int8 = flags_.type == NumberType::kInt8;
    gemv_cuda({.weight = is_int8 ? static_cast<const void*>(int8.get()) : bfloat16.get(),
               .type = flags_.type,
               .row_scale = is_int8 ? scale.get() : nullptr,
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
      double length = 0;
      double wanted = line(r, x, length);
      double allowed = kTolerance * length;
      if (flags_.is_gated) {
        double up_length = 0;
        const double up = line(shape_.num_rows + r, x, up_length);
        const double gate = wanted / (1 + std::exp(-wanted));
        allowed = kTolerance * (1.2 * length * std::abs(up) + up_length * std::abs(gate) + 1e-3);
        wanted = gate * up;
      }
      if (flags_.adds) wanted += y_[r];
      ASSERT_LE(std::abs(got[r] - wanted), allowed + 1e-6)
          << "row " << r << " of " << shape_.num_rows << " x " << shape_.num_columns << " "
          << name_of(flags_.type) << ", normed " << flags_.is_normed << ", gated "
          << flags_.is_gated << ", adds " << flags_.adds << ": " << got[r] << ", wanted " << wanted;
    }
  }

  /// Row `to` becomes a copy of row `from`.
  void copy_row(int64_t from, int64_t to) {
    std::copy_n(bfloat16_.begin() + from * shape_.num_columns, shape_.num_columns,
                bfloat16_.begin() + to * shape_.num_columns);
  }

 private:
  double line(int64_t row, const std::vector<double>& x, double& length) const {
    double sum = 0;
    double row_squares = 0;
    double x_squares = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      const double weight = weight_[row * shape_.num_columns + k];
      sum += weight * x[k];
      row_squares += weight * weight;
      x_squares += x[k] * x[k];
    }
    length = std::sqrt(row_squares * x_squares);
    return sum;
  }

  GemvShape shape_;
  GemvFlags flags_;
  std::vector<int8_t> int8_;
  std::vector<BFloat16> bfloat16_;
  std::vector<float> weight_;
  std::vector<float> scale_;
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
    for (const NumberType type : {NumberType::kBFloat16, NumberType::kInt8}) {
      for (const bool is_gated : {false, true}) {
        for (const bool is_normed : {false, true}) {
          GemvCase(shape, {type, is_normed, is_gated, !is_gated && !is_normed})
              .compare_with_double_loop();
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
  GemvCase({150, 2568}, {NumberType::kBFloat16, true, true, true}).compare_with_double_loop();
  GemvCase({40000, 8}, {NumberType::kBFloat16, true, false, false}).compare_with_double_loop();
}

TEST(DeviceGemvCuda, RepeatsBitForBit) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const GemvShape& shape : {GemvShape{1000, 2560}, GemvShape{400, 9728}}) {
    GemvCase gemv(shape, {NumberType::kBFloat16, true, false, true});
    const auto first = gemv.run();
    for (int i = 0; i < 5; ++i) {
      const auto again = gemv.run();
      ASSERT_EQ(std::memcmp(first.data(), again.data(), first.size() * sizeof(float)), 0);
    }
  }
}

TEST(DeviceGemvCuda, TheTokenIsTheLargestAndTheLowestOfEquals) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const GemvShape shape{40001, 256};
  GemvCase gemv(shape, {NumberType::kBFloat16, true, false, false});
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
  params.type = NumberType::kInt8;
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
