#pragma once
// A model for the tests of fused steps: random weights on the host and the device, and what a step
// must give, in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/fused_step.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {

constexpr int64_t kPositions = 64;
constexpr float kEps = 1e-6F;

// Of the largest value: queries, keys, values and numerators are rounded to bfloat16 (2^-9 each),
// and a layer passes on what the one before it has of that.
constexpr double kTolerance = 2e-2;

using Vector = std::vector<double>;

inline Vector normed(const Vector& x, const std::vector<float>& weight) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + kEps);
  Vector out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * factor * weight[i];
  return out;
}

/// Rows as a step reads them, and as they count.
struct Matrix {
  std::vector<std::byte> rows;
  std::vector<float> weight;
};

inline Vector product(const Matrix& matrix, const Vector& x) {
  Vector y(matrix.weight.size() / x.size());
  for (size_t r = 0; r < y.size(); ++r) {
    for (size_t k = 0; k < x.size(); ++k) {
      y[r] += double{matrix.weight[r * x.size() + k]} * x[k];
    }
  }
  return y;
}

inline double to_rounded(double value) { return to_float(to_bfloat16(static_cast<float>(value))); }

inline void expect_near(const std::vector<float>& got, const Vector& wanted, const char* what) {
  ASSERT_EQ(got.size(), wanted.size());
  double largest = 0;
  for (const double value : wanted) largest = std::max(largest, std::abs(value));
  ASSERT_GT(largest, 0);
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_LE(std::abs(got[i] - wanted[i]), kTolerance * largest)
        << what << " " << i << ": " << got[i] << ", wanted " << wanted[i];
  }
}

struct Layer {
  std::vector<float> input_norm, post_norm, q_norm, k_norm;
  Matrix input, output, gate_up, down;
  std::vector<BFloat16> key, value;
};

struct DeviceLayer {
  DeviceArray<float> input_norm, post_norm, q_norm, k_norm;
  DeviceArray<std::byte> input, output, gate_up, down;
  DeviceArray<BFloat16> key, value;
};

/// A model of a shape on the host and the device, and its caches.
class StepModel {
 public:
  StepModel(const FusedStepShape& shape, int64_t capacity, uint32_t seed)
      : shape_(shape), capacity_(capacity), seed_(seed) {
    const int64_t embed = shape.embed_dim;
    const int64_t q = shape.num_heads * shape.head_dim;
    const int64_t kv = shape.num_kv_heads * shape.head_dim;
    for (int64_t l = 0; l < shape.num_layers; ++l) {
      layers_.push_back({norm(embed), norm(embed), norm(shape.head_dim), norm(shape.head_dim),
                         matrix(2 * kv + q, embed), matrix(embed, q),
                         matrix(2 * shape.ffn_dim, embed), matrix(embed, shape.ffn_dim),
                         rounded(random_floats(capacity * kv, seed_++)),
                         rounded(random_floats(capacity * kv, seed_++))});
    }
    embedding_ = rounded(random_floats(shape.vocab_size * embed, seed_++));
    head_ = matrix(shape.vocab_size, embed);
    final_norm_ = norm(embed);
    for (int64_t position = 0; position < kPositions; ++position) {
      for (int64_t i = 0; i < shape.head_dim / 2; ++i) {
        const double angle = static_cast<double>(position) / (1.0 + static_cast<double>(i));
        cosine_.push_back(static_cast<float>(std::cos(angle)));
        sine_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    put();
  }

  /// The next steps are of this token, at this position, behind so many rows; a layer more than the
  /// one before it has one row more.
  void set(int32_t token, int32_t position, int32_t first_rows) {
    token_ = token;
    position_ = position;
    rows_.clear();
    for (int64_t l = 0; l < shape_.num_layers; ++l) {
      rows_.push_back(first_rows + static_cast<int32_t>(l));
    }
    copy(device_rows_, rows_);
    copy(device_state_, std::vector<int32_t>{token, position, 1});
    copy(device_logits_, std::vector<float>(shape_.vocab_size, NAN));
    for (int64_t l = 0; l < shape_.num_layers; ++l) {  // rows that must not be looked at
      auto key = layers_[l].key;
      auto value = layers_[l].value;
      const int64_t known = rows_[l] * shape_.num_kv_heads * shape_.head_dim;
      std::fill(key.begin() + known, key.end(), to_bfloat16(NAN));
      std::fill(value.begin() + known, value.end(), to_bfloat16(NAN));
      copy(device_[l].key, key);
      copy(device_[l].value, value);
    }
  }

  FusedStepParams params() const {
    FusedStepParams p;
    p.shape = shape_;
    p.layers = device_layers_.get();
    p.embedding = device_embedding_.get();
    p.final_norm = device_final_norm_.get();
    p.head = device_head_.get();
    p.cosine = device_cosine_.get();
    p.sine = device_sine_.get();
    p.token = device_state_.get();
    p.position = device_state_.get() + 1;
    p.num_rows = device_rows_.get();
    p.scale = scale();
    p.eps = kEps;
    p.entry_layer = shape_.num_layers - 1;
    p.entry = device_entry_.get();
    p.entry_row = device_state_.get() + 2;
    p.logits = device_logits_.get();
    p.next_token = device_next_.get();
    p.workspace = device_workspace_.get();
    return p;
  }

  int32_t next_token() const { return to_host(device_next_, 1)[0]; }

  /// A NaN among the weights of a logit.
  void spoil_logit(int64_t row) {
    const BFloat16 nan{static_cast<uint16_t>(0xffc0)};
    std::memcpy(head_.rows.data() + row * shape_.embed_dim * 2, &nan, sizeof nan);
    copy(device_head_, head_.rows);
  }

  std::vector<float> logits() const { return to_host(device_logits_, shape_.vocab_size); }

  /// Logits, the next token, what entered the last layer and the caches' new rows against a double
  /// loop.
  void expect_right() const {
    SCOPED_TRACE(std::string(name_of(shape_.type)) + " E " + std::to_string(shape_.embed_dim) +
                 " F " + std::to_string(shape_.ffn_dim) + " H " + std::to_string(shape_.num_heads) +
                 " D " + std::to_string(shape_.head_dim) + " rows " +
                 std::to_string(rows_.front()));
    const int64_t embed = shape_.embed_dim;
    const int64_t kv = shape_.num_kv_heads * shape_.head_dim;
    Vector x;
    for (int64_t i = 0; i < embed; ++i) x.push_back(to_float(embedding_[token_ * embed + i]));
    Vector entry;
    for (int64_t l = 0; l < shape_.num_layers; ++l) {
      entry = x;
      const Layer& layer = layers_[l];
      Vector key;
      Vector value;
      add(x, product(layer.output,
                     attend(l, product(layer.input, normed(x, layer.input_norm)), key, value)));
      const Vector both = product(layer.gate_up, normed(x, layer.post_norm));
      Vector gated(shape_.ffn_dim);
      for (int64_t i = 0; i < shape_.ffn_dim; ++i) {
        gated[i] = both[i] / (1 + std::exp(-both[i])) * both[shape_.ffn_dim + i];
      }
      add(x, product(layer.down, gated));
      expect_near(row(device_[l].key, l, kv), key, "key");
      expect_near(row(device_[l].value, l, kv), value, "value");
    }
    const auto entries = to_host(device_entry_, 2 * embed);
    expect_near({entries.begin() + embed, entries.end()}, entry, "entry");
    const auto got = logits();
    expect_near(got, product(head_, normed(x, final_norm_)), "logit");
    EXPECT_EQ(next_token(), std::max_element(got.begin(), got.end()) - got.begin());
  }

 private:
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)); }

  static void add(Vector& x, const Vector& more) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += more[i];
  }

  std::vector<float> norm(int64_t count) {
    auto values = random_floats(count, seed_++, 0.2F);
    for (float& value : values) value += 1;
    return values;
  }
  Matrix matrix(int64_t rows, int64_t columns) {
    auto values =
        random_floats(rows * columns, seed_++, 1.0F / std::sqrt(static_cast<float>(columns)));
    std::vector<std::byte> stored(rows * weight_layout(shape_.type, columns).row_bytes);
    const ContentType type = content_type_of(shape_.type);
    quantize_content({.row = values.data(),
                      .num_rows = rows,
                      .num_kv_heads = 1,
                      .head_dim = columns,
                      .type = type,
                      .out = stored.data()});
    dequantize_content({.row = stored.data(),
                        .num_rows = rows,
                        .num_kv_heads = 1,
                        .head_dim = columns,
                        .type = type,
                        .out = values.data()});
    return {std::move(stored), std::move(values)};
  }

  std::vector<float> row(const DeviceArray<BFloat16>& cache, int64_t layer, int64_t width) const {
    const auto all = to_host(cache, capacity_ * width);
    return widened({all.begin() + rows_[layer] * width, all.begin() + (rows_[layer] + 1) * width});
  }

  /// A head behind norm and rotation, rounded.
  Vector turned(const double* x, const std::vector<float>& weight) const {
    const int64_t half = shape_.head_dim / 2;
    const Vector normal = normed(Vector(x, x + shape_.head_dim), weight);
    Vector out(shape_.head_dim);
    for (int64_t i = 0; i < half; ++i) {
      const double cosine = cosine_[position_ * half + i];
      const double sine = sine_[position_ * half + i];
      out[i] = to_rounded(normal[i] * cosine - normal[i + half] * sine);
      out[i + half] = to_rounded(normal[i + half] * cosine + normal[i] * sine);
    }
    return out;
  }

  Vector attend(int64_t l, const Vector& joint, Vector& new_key, Vector& new_value) const {
    const int64_t dim = shape_.head_dim;
    const int64_t num_kv = shape_.num_kv_heads;
    for (int64_t g = 0; g < num_kv; ++g) {
      const Vector turned_key = turned(joint.data() + g * dim, layers_[l].k_norm);
      new_key.insert(new_key.end(), turned_key.begin(), turned_key.end());
      for (int64_t d = 0; d < dim; ++d) {
        new_value.push_back(to_rounded(joint[(num_kv + g) * dim + d]));
      }
    }
    Vector out(shape_.num_heads * dim);
    for (int64_t h = 0; h < shape_.num_heads; ++h) {
      const Vector query = turned(joint.data() + (2 * num_kv + h) * dim, layers_[l].q_norm);
      const int64_t column = h / (shape_.num_heads / num_kv) * dim;
      const auto at = [&](const std::vector<BFloat16>& cache, const Vector& own, int64_t s,
                          int64_t d) {
        return s == rows_[l] ? own[column + d] : to_float(cache[s * num_kv * dim + column + d]);
      };
      Vector score(rows_[l] + 1);
      for (int64_t s = 0; s <= rows_[l]; ++s) {
        for (int64_t d = 0; d < dim; ++d) {
          score[s] += query[d] * at(layers_[l].key, new_key, s, d) * scale();
        }
      }
      const double most = *std::max_element(score.begin(), score.end());
      double total = 0;
      for (int64_t s = 0; s <= rows_[l]; ++s) {
        const double weight = std::exp(score[s] - most);
        total += weight;
        for (int64_t d = 0; d < dim; ++d) {
          out[h * dim + d] += weight * at(layers_[l].value, new_value, s, d);
        }
      }
      for (int64_t d = 0; d < dim; ++d) out[h * dim + d] /= total;
    }
    return out;
  }

  template <typename Value>
  static void copy(const DeviceArray<Value>& to, const std::vector<Value>& from) {
    EXPECT_EQ(
        cudaMemcpy(to.get(), from.data(), from.size() * sizeof(Value), cudaMemcpyHostToDevice),
        cudaSuccess);
  }

  void put() {
    std::vector<FusedStepLayer> pointers;
    for (const Layer& layer : layers_) {
      device_.push_back({to_device(layer.input_norm), to_device(layer.post_norm),
                         to_device(layer.q_norm), to_device(layer.k_norm),
                         to_device(layer.input.rows), to_device(layer.output.rows),
                         to_device(layer.gate_up.rows), to_device(layer.down.rows),
                         to_device(layer.key), to_device(layer.value)});
      const DeviceLayer& d = device_.back();
      FusedStepLayer p;
      p.input_norm = d.input_norm.get();
      p.input = d.input.get();
      p.q_norm = d.q_norm.get();
      p.k_norm = d.k_norm.get();
      p.output = d.output.get();
      p.post_norm = d.post_norm.get();
      p.gate_up = d.gate_up.get();
      p.down = d.down.get();
      p.key = d.key.get();
      p.value = d.value.get();
      pointers.push_back(p);
    }
    device_layers_ = to_device(pointers);
    device_embedding_ = to_device(embedding_);
    device_head_ = to_device(head_.rows);
    device_final_norm_ = to_device(final_norm_);
    device_cosine_ = to_device(cosine_);
    device_sine_ = to_device(sine_);
    device_state_ = device_array<int32_t>(3);
    device_rows_ = device_array<int32_t>(shape_.num_layers);
    device_next_ = device_array<int32_t>(1);
    device_logits_ = device_array<float>(shape_.vocab_size);
    device_entry_ = to_device(std::vector<float>(2 * shape_.embed_dim, NAN));
    device_workspace_ = to_device(std::vector<std::byte>(fused_step_workspace_bytes(shape_)));
  }

  FusedStepShape shape_;
  int64_t capacity_;
  uint32_t seed_;
  int32_t token_ = 0;
  int32_t position_ = 0;
  std::vector<int32_t> rows_;
  std::vector<Layer> layers_;
  std::vector<BFloat16> embedding_;
  Matrix head_;
  std::vector<float> final_norm_, cosine_, sine_;
  std::vector<DeviceLayer> device_;
  DeviceArray<FusedStepLayer> device_layers_;
  DeviceArray<BFloat16> device_embedding_;
  DeviceArray<std::byte> device_head_;
  DeviceArray<float> device_final_norm_, device_cosine_, device_sine_, device_logits_,
      device_entry_;
  DeviceArray<int32_t> device_state_, device_rows_, device_next_;
  DeviceArray<std::byte> device_workspace_;
};

}  // namespace msa::kernels
