#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/step_attention.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Heads {
  int64_t num;
  int64_t num_kv;
  int64_t dim;
};

/// Inputs of one layer on the host and the device, and its result in double.
class Layer {
 public:
  Layer(const Heads& heads, int64_t capacity, uint32_t seed)
      : heads_(heads),
        capacity_(capacity),
        joint_(random_floats((heads.num + 2 * heads.num_kv) * heads.dim, seed, 2)),
        q_norm_(random_floats(heads.dim, seed + 1)),
        k_norm_(random_floats(heads.dim, seed + 2)),
        // Rows that are not visible must not be looked at.
        key_(capacity * heads.num_kv * heads.dim, to_bfloat16(NAN)),
        value_(key_) {
    const auto known_keys = rounded(random_floats(key_.size(), seed + 3));
    const auto known_values = rounded(random_floats(key_.size(), seed + 4));
    known_keys_ = known_keys;
    known_values_ = known_values;
    for (int64_t position = 0; position < kPositions; ++position) {
      for (int64_t i = 0; i < heads.dim / 2; ++i) {
        const double angle =
            static_cast<double>(position) *
            std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(heads.dim));
        cosine_.push_back(static_cast<float>(std::cos(angle)));
        sine_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    device_joint_ = to_device(joint_);
    device_q_norm_ = to_device(q_norm_);
    device_k_norm_ = to_device(k_norm_);
    device_cosine_ = to_device(cosine_);
    device_sine_ = to_device(sine_);
    device_key_ = to_device(key_);
    device_value_ = to_device(value_);
    device_out_ = to_device(std::vector<float>(heads.num * heads.dim, NAN));
    device_position_ = to_device(std::vector<int32_t>{0});
    device_num_rows_ = to_device(std::vector<int32_t>{0});
  }

  /// Gives the device `num_rows` rows of the cache and nothing behind them.
  void set(int32_t position, int32_t num_rows) {
    position_ = position;
    num_rows_ = num_rows;
    const auto count = static_cast<size_t>(num_rows * heads_.num_kv * heads_.dim);
    std::fill(key_.begin(), key_.end(), to_bfloat16(NAN));
    value_ = key_;
    std::copy_n(known_keys_.begin(), count, key_.begin());
    std::copy_n(known_values_.begin(), count, value_.begin());
    copy(device_key_.get(), key_);
    copy(device_value_.get(), value_);
    copy(device_out_.get(), std::vector<float>(heads_.num * heads_.dim, NAN));
    copy(device_position_.get(), std::vector<int32_t>{position});
    copy(device_num_rows_.get(), std::vector<int32_t>{num_rows});
  }

  void queue(cudaStream_t stream) {
    step_attention_cuda({.joint = device_joint_.get(),
                         .q_norm = device_q_norm_.get(),
                         .k_norm = device_k_norm_.get(),
                         .cosine = device_cosine_.get(),
                         .sine = device_sine_.get(),
                         .position = device_position_.get(),
                         .key = device_key_.get(),
                         .value = device_value_.get(),
                         .num_rows = device_num_rows_.get(),
                         .out = device_out_.get(),
                         .num_heads = heads_.num,
                         .num_kv_heads = heads_.num_kv,
                         .head_dim = heads_.dim,
                         .scale = scale(),
                         .eps = kEps},
                        stream);
  }

  std::vector<float> result() { return to_host(device_out_, heads_.num * heads_.dim); }

  /// The cache's new row to 1 unit of bfloat16 (2^-8), its other rows to the bit, and the result
  /// against a double loop over the cache as the device has it: 2^-9 of rounding for the query and
  /// for every numerator.
  void expect_right() {
    SCOPED_TRACE("H " + std::to_string(heads_.num) + " G " + std::to_string(heads_.num_kv) + " D " +
                 std::to_string(heads_.dim) + " rows " + std::to_string(num_rows_));
    const int64_t dim = heads_.dim;
    const int64_t stride = heads_.num_kv * dim;
    const auto key = to_host(device_key_, key_.size());
    const auto value = to_host(device_value_, value_.size());
    for (int64_t i = 0; i < capacity_ * stride; ++i) {
      if (i / stride == num_rows_) continue;
      ASSERT_EQ(key[i].bits, key_[i].bits) << "key row " << i / stride;
      ASSERT_EQ(value[i].bits, value_[i].bits) << "value row " << i / stride;
    }
    for (int64_t g = 0; g < heads_.num_kv; ++g) {
      const auto wanted = turned(g, k_norm_);
      for (int64_t d = 0; d < dim; ++d) {
        const int64_t place = num_rows_ * stride + g * dim + d;
        ASSERT_NEAR(to_float(key[place]), wanted[d], 1e-5 + std::abs(wanted[d]) / 256);
        ASSERT_EQ(value[place].bits, to_bfloat16(joint_[(heads_.num_kv + g) * dim + d]).bits);
      }
    }
    const auto out = result();
    for (int64_t h = 0; h < heads_.num; ++h) {
      const auto query = turned(2 * heads_.num_kv + h, q_norm_);
      const int64_t column = h / (heads_.num / heads_.num_kv) * dim;
      std::vector<double> score;
      for (int64_t s = 0; s <= num_rows_; ++s) {
        double dot = 0;
        for (int64_t d = 0; d < dim; ++d) {
          dot += static_cast<double>(to_float(to_bfloat16(static_cast<float>(query[d])))) *
                 to_float(key[s * stride + column + d]);
        }
        score.push_back(dot * scale());
      }
      const double most = *std::max_element(score.begin(), score.end());
      double total = 0;
      std::vector<double> wanted(dim);
      for (int64_t s = 0; s <= num_rows_; ++s) {
        const double weight = std::exp(score[s] - most);
        total += weight;
        for (int64_t d = 0; d < dim; ++d) {
          wanted[d] += weight * to_float(value[s * stride + column + d]);
        }
      }
      for (int64_t d = 0; d < dim; ++d) {
        ASSERT_NEAR(out[h * dim + d], wanted[d] / total, 1e-2) << "head " << h << " at " << d;
      }
    }
  }

 private:
  static constexpr int64_t kPositions = 64;
  static constexpr float kEps = 1e-6F;

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(heads_.dim)); }

  /// A head of the joint projection behind norm and rotation.
  std::vector<double> turned(int64_t head, const std::vector<float>& weight) const {
    const int64_t half = heads_.dim / 2;
    const float* x = joint_.data() + head * heads_.dim;
    double squares = 0;
    for (int64_t d = 0; d < heads_.dim; ++d) squares += static_cast<double>(x[d]) * x[d];
    const double norm = 1.0 / std::sqrt(squares / static_cast<double>(heads_.dim) + kEps);
    std::vector<double> out(heads_.dim);
    for (int64_t i = 0; i < half; ++i) {
      const double a = x[i] * norm * weight[i];
      const double b = x[i + half] * norm * weight[i + half];
      const double cosine = cosine_[position_ * half + i];
      const double sine = sine_[position_ * half + i];
      out[i] = a * cosine - b * sine;
      out[i + half] = b * cosine + a * sine;
    }
    return out;
  }

  template <typename Value>
  static void copy(Value* to, const std::vector<Value>& from) {
    EXPECT_EQ(cudaMemcpy(to, from.data(), from.size() * sizeof(Value), cudaMemcpyHostToDevice),
              cudaSuccess);
  }

  Heads heads_;
  int64_t capacity_;
  int32_t position_ = 0;
  int32_t num_rows_ = 0;
  std::vector<float> joint_, q_norm_, k_norm_, cosine_, sine_;
  std::vector<BFloat16> key_, value_, known_keys_, known_values_;
  DeviceArray<float> device_joint_, device_q_norm_, device_k_norm_, device_cosine_, device_sine_,
      device_out_;
  DeviceArray<BFloat16> device_key_, device_value_;
  DeviceArray<int32_t> device_position_, device_num_rows_;
};

TEST(StepAttentionCuda, EqualsADoubleLoopForAnyNumberOfRows) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  uint32_t seed = 40;
  for (const Heads& heads : {Heads{32, 8, 128}, Heads{6, 2, 64}, Heads{4, 4, 128}, Heads{24, 2, 64},
                             Heads{3, 1, 80}, Heads{2, 2, 16}}) {
    Layer layer(heads, 1300, seed += 10);
    for (const int32_t num_rows : {0, 1, 15, 16, 17, 63, 64, 100, 600, 1299}) {
      layer.set(num_rows % 64, num_rows);
      layer.queue(nullptr);
      layer.expect_right();
    }
  }
}

TEST(StepAttentionCuda, AnswersTheSameTwice) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  Layer layer({32, 8, 128}, 3000, 7);
  layer.set(5, 2000);
  layer.queue(nullptr);
  layer.expect_right();
  const auto first = layer.result();
  layer.set(5, 2000);
  layer.queue(nullptr);
  const auto second = layer.result();
  EXPECT_EQ(std::memcmp(first.data(), second.data(), first.size() * sizeof(float)), 0);
}

TEST(StepAttentionCuda, AGraphFollowsPositionAndRows) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  Layer layer({32, 8, 128}, 1000, 8);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  // Twice: the second starts as a dependent of the first and does the same again.
  layer.queue(stream);
  layer.queue(stream);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  cudaGraphExec_t program = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&program, graph, 0), cudaSuccess);
  for (const int32_t num_rows : {0, 700, 31, 999, 128}) {
    layer.set(num_rows % 61, num_rows);
    ASSERT_EQ(cudaGraphLaunch(program, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    layer.expect_right();
  }
  cudaGraphExecDestroy(program);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(StepAttentionCuda, ShapesOutsideTheRangesAreRefused) {
  const StepAttentionParams good{.num_heads = 4, .num_kv_heads = 2, .head_dim = 64};
  for (const int64_t dim : {0, 8, 72, 144}) {
    auto params = good;
    params.head_dim = dim;
    EXPECT_THROW(step_attention_cuda(params, nullptr), Error) << dim;
  }
  for (const auto& [heads, kv_heads] : {std::pair{0, 1}, {4, 0}, {5, 2}, {2048, 2048}}) {
    auto params = good;
    params.num_heads = heads;
    params.num_kv_heads = kv_heads;
    EXPECT_THROW(step_attention_cuda(params, nullptr), Error) << heads << ", " << kv_heads;
  }
}

}  // namespace
}  // namespace msa::kernels
