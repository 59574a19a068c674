#include "msa/kernels/packed_attention_gradient.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Case {
  std::vector<int32_t> query_offsets;
  std::vector<int32_t> key_offsets;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  double scale;
};

/// What the kernels give, or what loops give, in double.
struct Results {
  std::vector<double> out, log_sum, query, key, value;
};

struct Inputs {
  std::vector<float> query, key, value, out_gradient;
};

Inputs inputs_of(const Case& c) {
  const int64_t queries = c.query_offsets.back() * c.num_heads * c.head_dim;
  const int64_t keys = c.key_offsets.back() * c.num_kv_heads * c.head_dim;
  return {random_floats(queries, 1), random_floats(keys, 2), random_floats(keys, 3),
          random_floats(queries, 4)};
}

/// With all probabilities of a row at once.
Results by_loops(const Case& c, const Inputs& in) {
  const int64_t dim = c.head_dim;
  Results r{.out = std::vector<double>(in.query.size()),
            .log_sum = std::vector<double>(in.query.size() / dim),
            .query = std::vector<double>(in.query.size()),
            .key = std::vector<double>(in.key.size()),
            .value = std::vector<double>(in.key.size())};
  const auto dot = [&](const std::vector<float>& a, int64_t i, const std::vector<float>& b,
                       int64_t j) {
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += static_cast<double>(a[i + d]) * b[j + d];
    return sum;
  };
  for (size_t n = 0; n + 1 < c.query_offsets.size(); ++n) {
    const int64_t num_queries = c.query_offsets[n + 1] - c.query_offsets[n];
    const int64_t num_keys = c.key_offsets[n + 1] - c.key_offsets[n];
    for (int64_t i = 0; i < num_queries * c.num_heads; ++i) {
      const int64_t visible = num_keys - num_queries + i / c.num_heads + 1;
      if (visible <= 0) continue;
      const int64_t row = c.query_offsets[n] * c.num_heads + i;
      const int64_t q = row * dim;
      const int64_t kv_head = i % c.num_heads / (c.num_heads / c.num_kv_heads);
      const auto key_place = [&](int64_t j) {
        return ((c.key_offsets[n] + j) * c.num_kv_heads + kv_head) * dim;
      };
      double total = 0;
      for (int64_t j = 0; j < visible; ++j) {
        total += std::exp(c.scale * dot(in.query, q, in.key, key_place(j)));
      }
      r.log_sum[row] = std::log(total);
      std::vector<double> share(visible);
      double delta = 0;
      for (int64_t j = 0; j < visible; ++j) {
        const int64_t k = key_place(j);
        share[j] = std::exp(c.scale * dot(in.query, q, in.key, k)) / total;
        for (int64_t d = 0; d < dim; ++d) r.out[q + d] += share[j] * in.value[k + d];
        delta += share[j] * dot(in.out_gradient, q, in.value, k);
      }
      for (int64_t j = 0; j < visible; ++j) {
        const int64_t k = key_place(j);
        const double slope = c.scale * share[j] * (dot(in.out_gradient, q, in.value, k) - delta);
        for (int64_t d = 0; d < dim; ++d) {
          r.query[q + d] += slope * in.key[k + d];
          r.key[k + d] += slope * in.query[q + d];
          r.value[k + d] += share[j] * in.out_gradient[q + d];
        }
      }
    }
  }
  return r;
}

template <typename Number>
Results by_kernels(const Case& c, const Inputs& in) {
  const auto as_numbers = [](const std::vector<float>& values) {
    return std::vector<Number>(values.begin(), values.end());
  };
  const auto query = as_numbers(in.query);
  const auto key = as_numbers(in.key);
  const auto value = as_numbers(in.value);
  const auto out_gradient = as_numbers(in.out_gradient);
  std::vector<Number> out(query.size(), NAN);
  std::vector<Number> log_sum(query.size() / c.head_dim, NAN);
  std::vector<Number> query_gradient(query.size(), NAN);
  std::vector<Number> key_gradient(key.size(), NAN);
  std::vector<Number> value_gradient(key.size(), NAN);
  const AttentionBackwardParams<Number> params{.forward = {.query = query.data(),
                                                           .key = key.data(),
                                                           .value = value.data(),
                                                           .out = out.data(),
                                                           .log_sum = log_sum.data(),
                                                           .query_offsets = c.query_offsets.data(),
                                                           .key_offsets = c.key_offsets.data(),
                                                           .num_heads = c.num_heads,
                                                           .num_kv_heads = c.num_kv_heads,
                                                           .head_dim = c.head_dim,
                                                           .scale = static_cast<Number>(c.scale)},
                                               .out_gradient = out_gradient.data(),
                                               .query_gradient = query_gradient.data(),
                                               .key_gradient = key_gradient.data(),
                                               .value_gradient = value_gradient.data()};
  for (size_t n = 0; n + 1 < c.query_offsets.size(); ++n) {
    for (int64_t g = 0; g < c.num_kv_heads; ++g) {
      attention_forward(params.forward, static_cast<int64_t>(n), g);
      attention_backward(params, static_cast<int64_t>(n), g);
    }
  }
  const auto wide = [](const std::vector<Number>& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  return {wide(out), wide(log_sum), wide(query_gradient), wide(key_gradient), wide(value_gradient)};
}

void expect_near(const std::vector<double>& got, const std::vector<double>& wanted,
                 double tolerance, const char* name) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], tolerance * (1 + std::abs(wanted[i]))) << name << " " << i;
  }
}

void expect_near(const Results& got, const Results& wanted, double tolerance) {
  expect_near(got.out, wanted.out, tolerance, "out");
  expect_near(got.log_sum, wanted.log_sum, tolerance, "log_sum");
  expect_near(got.query, wanted.query, tolerance, "query");
  expect_near(got.key, wanted.key, tolerance, "key");
  expect_near(got.value, wanted.value, tolerance, "value");
}

TEST(PackedAttentionGradient, EqualsADoubleLoopOnEveryLevelInBothTypes) {
  // Sequences of one token, without tokens, with queries that see nothing, of several tiles; heads
  // of whole vectors and of odd lengths; large scores.
  for (const auto& c :
       {Case{{0, 1}, {0, 1}, 1, 1, 16, 0.25},
        Case{{0, 3, 8, 8, 15}, {0, 9, 14, 20, 60}, 3, 1, 20, 0.2},
        Case{{0, 7, 9, 12}, {0, 3, 3, 6}, 6, 2, 17, 0.3},
        Case{{0, 40, 110}, {0, 150, 220}, 3, 1, 64, 0.125}, Case{{0, 33}, {0, 70}, 4, 4, 128, 0.09},
        Case{{0, 65}, {0, 65}, 2, 1, 48, 3.0}, Case{{0, 6}, {0, 130}, 1, 1, 256, 0.06},
        Case{{0, 5}, {0, 5}, 2, 2, 1, 1.0}}) {
    SCOPED_TRACE(c.head_dim);
    const auto in = inputs_of(c);
    const auto wanted = by_loops(c, in);
    on_every_level([&](const char* level) {
      SCOPED_TRACE(level);
      expect_near(by_kernels<float>(c, in), wanted, c.scale > 1 ? 2e-4 : 2e-5);
      expect_near(by_kernels<double>(c, in), wanted, 1e-11);
    });
  }
}

}  // namespace
}  // namespace msa::kernels
