// Attention, pooling, element-wise arithmetic and matrix-vector products against plain double
// loops.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/kernels/attention.h"
#include "msa/kernels/elementwise.h"
#include "msa/kernels/gemv.h"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

std::vector<float> random_floats(size_t count, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random) * scale;
  return values;
}

std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> result;
  for (const float value : values) result.push_back(to_bfloat16(value));
  return result;
}

/// softmax(scale * q . K) V for one query and head over the first `visible` keys.
std::vector<double> attend(const float* query, const std::vector<float>& key,
                           const std::vector<float>& value, int64_t first_key, int64_t visible,
                           int64_t stride, int64_t column, int64_t dim, double scale) {
  std::vector<double> score(visible);
  double highest = -1e300;
  for (int64_t s = 0; s < visible; ++s) {
    double dot = 0;
    for (int64_t d = 0; d < dim; ++d) {
      dot += static_cast<double>(query[d]) * key[(first_key + s) * stride + column + d];
    }
    score[s] = dot * scale;
    highest = std::max(highest, score[s]);
  }
  double total = 0;
  std::vector<double> out(dim);
  for (int64_t s = 0; s < visible; ++s) {
    const double weight = std::exp(score[s] - highest);
    total += weight;
    for (int64_t d = 0; d < dim; ++d) {
      out[d] += weight * value[(first_key + s) * stride + column + d];
    }
  }
  for (double& x : out) x /= total;
  return out;
}

TEST(Attention, BlocksEqualADoubleLoopForOddShapesCausalAndFull) {
  uint32_t seed = 10;
  for (const int64_t dim : {2, 16, 30, 32, 64, 96, 128, 256}) {
    for (const auto& [queries, keys] :
         {std::pair<int64_t, int64_t>{1, 1}, {3, 70}, {65, 65}, {40, 200}}) {
      for (const bool is_causal : {true, false}) {
        const int64_t heads = 6;
        const int64_t kv = 2;
        const auto q = random_floats(queries * heads * dim, ++seed);
        const auto k = random_floats(keys * kv * dim, ++seed);
        const auto v = random_floats(keys * kv * dim, ++seed);
        std::vector<float> out(queries * heads * dim, NAN);
        const int64_t query_first[] = {0, queries};
        const int64_t key_first[] = {0, keys};
        const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
        const AttentionParams params{.query = q.data(),
                                     .key = k.data(),
                                     .value = v.data(),
                                     .out = out.data(),
                                     .query_first = query_first,
                                     .key_first = key_first,
                                     .num_heads = heads,
                                     .num_kv_heads = kv,
                                     .head_dim = dim,
                                     .scale = static_cast<float>(scale),
                                     .is_causal = is_causal};
        for (int64_t g = 0; g < kv; ++g) {
          for (int64_t first = 0; first < queries; first += kAttentionBlock) {
            attention_block(params, 0, first, g);
          }
        }
        for (int64_t t = 0; t < queries; ++t) {
          for (int64_t h = 0; h < heads; ++h) {
            const int64_t visible = is_causal ? keys - queries + t + 1 : keys;
            const auto wanted = attend(q.data() + (t * heads + h) * dim, k, v, 0, visible, kv * dim,
                                       h / 3 * dim, dim, scale);
            for (int64_t d = 0; d < dim; ++d) {
              ASSERT_NEAR(out[(t * heads + h) * dim + d], wanted[d], 4e-6)
                  << "dim " << dim << " t " << t << " h " << h << " d " << d << " seed " << seed;
            }
          }
        }
      }
    }
  }
}

TEST(Attention, SequencesSideBySideDoNotSeeEachOther) {
  const std::vector<int64_t> first{0, 5, 70, 71, 140};
  const int64_t dim = 16;
  const auto q = random_floats(140 * 2 * dim, 1);
  const auto k = random_floats(140 * dim, 2);
  const auto v = random_floats(140 * dim, 3);
  std::vector<float> out(q.size(), NAN);
  const AttentionParams params{.query = q.data(),
                               .key = k.data(),
                               .value = v.data(),
                               .out = out.data(),
                               .query_first = first.data(),
                               .key_first = first.data(),
                               .num_heads = 2,
                               .num_kv_heads = 1,
                               .head_dim = dim,
                               .scale = 0.25F};
  for (int64_t n = 0; n < 4; ++n) {
    for (int64_t begin = 0; begin < first[n + 1] - first[n]; begin += kAttentionBlock) {
      attention_block(params, n, begin, 0);
    }
  }
  for (int64_t n = 0; n < 4; ++n) {
    for (int64_t t = first[n]; t < first[n + 1]; ++t) {
      for (int64_t h = 0; h < 2; ++h) {
        const auto wanted = attend(q.data() + (t * 2 + h) * dim, k, v, first[n], t - first[n] + 1,
                                   dim, 0, dim, 0.25);
        for (int64_t d = 0; d < dim; ++d) {
          ASSERT_NEAR(out[(t * 2 + h) * dim + d], wanted[d], 2e-6) << n << " " << t;
        }
      }
    }
  }
}

TEST(SparseAttention, OneStepEqualsADoubleLoop) {
  for (const int64_t dim : {2, 16, 40, 128}) {
    for (const int64_t keys : {1, 7, 300, 1100}) {
      const auto q = random_floats(8 * dim, 4);
      const auto k = random_floats(keys * 2 * dim, 5);
      const auto v = random_floats(keys * 2 * dim, 6);
      std::vector<float> out(8 * dim, NAN);
      std::vector<float> scores(8 * keys);
      sparse_attention({.query = q.data(),
                        .key = k.data(),
                        .value = v.data(),
                        .out = out.data(),
                        .num_keys = keys,
                        .num_heads = 8,
                        .num_kv_heads = 2,
                        .head_dim = dim,
                        .scale = 0.2F,
                        .scores = scores.data()},
                       0, 8);
      for (int64_t h = 0; h < 8; ++h) {
        const auto wanted =
            attend(q.data() + h * dim, k, v, 0, keys, 2 * dim, h / 4 * dim, dim, 0.2F);
        for (int64_t d = 0; d < dim; ++d) ASSERT_NEAR(out[h * dim + d], wanted[d], 4e-6);
      }
    }
  }
}

TEST(PoolChunks, ShortLastChunksAverageOnlyTheirOwnRows) {
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
}

TEST(Elementwise, RmsNormAndRotationEqualDoubleLoops) {
  const int64_t dim = 20;
  const auto x = random_floats(3 * 2 * dim, 8);
  const auto weight = random_floats(2 * dim, 9);
  std::vector<float> out(3 * 2 * dim, NAN);
  rms_norm(
      {.x = x.data(), .weight = weight.data(), .out = out.data(), .dim = 2 * dim, .eps = 1e-6F}, 0,
      3);
  for (int64_t t = 0; t < 3; ++t) {
    double squares = 0;
    for (int64_t i = 0; i < 2 * dim; ++i) squares += std::pow(x[t * 2 * dim + i], 2.0);
    for (int64_t i = 0; i < 2 * dim; ++i) {
      const double wanted = weight[i] * x[t * 2 * dim + i] / std::sqrt(squares / (2 * dim) + 1e-6);
      EXPECT_NEAR(out[t * 2 * dim + i], wanted, 2e-6 * std::max(1.0, std::abs(wanted)));
    }
  }
  std::vector<float> cosine(3 * dim / 2);
  std::vector<float> sine(3 * dim / 2);
  for (size_t i = 0; i < cosine.size(); ++i) {
    cosine[i] = std::cos(0.3F * static_cast<float>(i));
    sine[i] = std::sin(0.3F * static_cast<float>(i));
  }
  norm_rope({.x = x.data(),
             .x_stride = 2 * dim,
             .weight = weight.data(),
             .cosine = cosine.data(),
             .sine = sine.data(),
             .out = out.data(),
             .num_heads = 2,
             .head_dim = dim,
             .eps = 1e-6F},
            0, 3);
  for (int64_t t = 0; t < 3; ++t) {
    for (int64_t h = 0; h < 2; ++h) {
      const float* head = x.data() + (t * 2 + h) * dim;
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += std::pow(head[i], 2.0);
      const double factor = 1 / std::sqrt(squares / dim + 1e-6);
      for (int64_t i = 0; i < dim / 2; ++i) {
        const double a = weight[i] * head[i] * factor;
        const double b = weight[dim / 2 + i] * head[dim / 2 + i] * factor;
        const double c = cosine[t * dim / 2 + i];
        const double s = sine[t * dim / 2 + i];
        EXPECT_NEAR(out[(t * 2 + h) * dim + i], a * c - b * s, 4e-6);
        EXPECT_NEAR(out[(t * 2 + h) * dim + dim / 2 + i], b * c + a * s, 4e-6);
      }
    }
  }
}

TEST(Elementwise, ExponentialIsWithinAFewUnitsOfTheLastPlace) {
  for (float x = -87; x < 88; x += 0.00137F) {
    const double wanted = std::exp(static_cast<double>(x));
    ASSERT_NEAR(fast_exp(x) / wanted, 1.0, 4e-7) << x;
  }
  EXPECT_EQ(fast_exp(-1e30F), 0.0F);
}

TEST(Elementwise, SwigluEqualsADoubleLoopInBothTypes) {
  const auto x = random_floats(2 * 2 * 37, 12, 3);
  std::vector<float> out(2 * 37, NAN);
  swiglu({.gate_up = x.data(), .out = out.data(), .dim = 37}, 0, 2);
  const auto narrow_x = rounded(x);
  std::vector<BFloat16> narrow_out(2 * 37);
  swiglu({.gate_up = narrow_x.data(),
          .out = narrow_out.data(),
          .type = NumberType::kBFloat16,
          .dim = 37},
         0, 2);
  for (int64_t t = 0; t < 2; ++t) {
    for (int64_t i = 0; i < 37; ++i) {
      const auto wanted = [&](double g, double u) { return g / (1 + std::exp(-g)) * u; };
      const double exact = wanted(x[t * 74 + i], x[t * 74 + 37 + i]);
      EXPECT_NEAR(out[t * 37 + i], exact, 2e-6 * std::max(1.0, std::abs(exact)));
      const double coarse =
          wanted(to_float(narrow_x[t * 74 + i]), to_float(narrow_x[t * 74 + 37 + i]));
      EXPECT_NEAR(to_float(narrow_out[t * 37 + i]), coarse, 5e-3 * std::max(1.0, std::abs(coarse)));
    }
  }
}

TEST(Gemv, EqualsADoubleLoopForAnySlicesAndBothTypes) {
  for (const int64_t columns : {1, 15, 32, 33, 384, 1024, 1031}) {
    const int64_t num_rows = 23;
    const auto weight = random_floats(num_rows * columns, 20);
    const auto narrow_weight = rounded(weight);
    const auto x = random_floats(columns, 21);
    for (const bool is_bf16 : {false, true}) {
      std::vector<float> whole(num_rows, 1);
      GemvParams params{
          .weight = is_bf16 ? static_cast<const void*>(narrow_weight.data()) : weight.data(),
          .type = is_bf16 ? NumberType::kBFloat16 : NumberType::kFloat32,
          .x = x.data(),
          .y = whole.data(),
          .num_columns = columns,
          .adds = true};
      gemv(params, 0, num_rows);
      std::vector<float> sliced(num_rows, 1);
      params.y = sliced.data();
      for (const auto& [first, end] :
           {std::pair<int64_t, int64_t>{0, 3}, {3, 16}, {16, 16}, {16, 23}}) {
        gemv(params, first, end);
      }
      EXPECT_EQ(whole, sliced) << "slices change bits";
      for (int64_t r = 0; r < num_rows; ++r) {
        double wanted = 1;
        double size = 1;
        for (int64_t k = 0; k < columns; ++k) {
          const double product =
              static_cast<double>(is_bf16 ? to_float(narrow_weight[r * columns + k])
                                          : weight[r * columns + k]) *
              x[k];
          wanted += product;
          size += std::abs(product);
        }
        EXPECT_NEAR(whole[r], wanted, 1e-6 * size);
      }
    }
  }
}

}  // namespace
}  // namespace msa::kernels
