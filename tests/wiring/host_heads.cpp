#include <cmath>
#include <vector>

#include "tests/wiring/call_arrays.h"
#include "tests/wiring/host_loops.h"

namespace msa::wiring {
namespace {

constexpr double kShortest = 1e-12;

/// Of NormHeadsParams or NormHeadsGradientParams. Groups do not share columns.
template <typename Params>
void expect_groups(const char* kernel, const Params& p) {
  expect(p.head_dim > 0 && p.head_dim % 16 == 0 && p.head_dim <= kernels::kLargestLearnedHead,
         kernel, ": heads of ", p.head_dim, " numbers");
  expect(p.num_groups > 0 && p.num_groups <= kernels::kMostHeadGroups, kernel, ": ", p.num_groups,
         " groups");
  int64_t free_column = 0;
  for (int i = 0; i < p.num_groups; ++i) {
    const auto& group = p.group[i];
    expect(group.first_column % 8 == 0 && group.first_column >= free_column && group.num_heads > 0,
           kernel, ": a group of ", group.num_heads, " heads at column ", group.first_column);
    free_column = group.first_column + group.num_heads * p.head_dim;
  }
  expect(p.row_stride % 8 == 0 && free_column <= p.row_stride, kernel, ": ", free_column,
         " columns of ", p.row_stride);
}

template <typename Params>
void read_rows(CallArrays& arrays, const Params& p) {
  arrays.reads("joint", p.joint, p.num_tokens * p.row_stride);
  arrays.reads("cosine", p.cosine, p.num_tokens * p.head_dim / 2);
  arrays.reads("sine", p.sine, p.num_tokens * p.head_dim / 2);
  for (int i = 0; i < p.num_groups; ++i) {
    if (p.group[i].weight != nullptr) arrays.reads("weight", p.group[i].weight, p.head_dim);
  }
}

double root_of(const BFloat16* head, int64_t head_dim, double eps) {
  double squares = 0;
  for (int64_t i = 0; i < head_dim; ++i) squares += std::pow(to_float(head[i]), 2.0);
  return 1 / std::sqrt(squares / static_cast<double>(head_dim) + eps);
}

double length_of(const BFloat16* head, int64_t head_dim) {
  double squares = 0;
  for (int64_t i = 0; i < head_dim; ++i) squares += std::pow(to_float(head[i]), 2.0);
  return std::sqrt(squares);
}

void expect_unit_heads(const char* kernel, int64_t head_dim) {
  expect(head_dim > 0 && head_dim % 8 == 0 && head_dim <= kernels::kLargestUnitHead, kernel,
         ": heads of ", head_dim, " numbers");
}

}  // namespace

void norm_heads(const kernels::NormHeadsParams& p, kernels::CudaStream stream) {
  CallArrays arrays("norm_heads", stream);
  if (p.num_tokens == 0) return;
  expect_groups("norm_heads", p);
  read_rows(arrays, p);
  const int64_t half = p.head_dim / 2;
  for (int g = 0; g < p.num_groups; ++g) {
    const kernels::HeadGroup& group = p.group[g];
    arrays.writes("out", group.out, p.num_tokens * group.num_heads * p.head_dim);
    for (int64_t n = 0; n < p.num_tokens * group.num_heads; ++n) {
      const int64_t token = n / group.num_heads;
      const BFloat16* head =
          p.joint + token * p.row_stride + group.first_column + n % group.num_heads * p.head_dim;
      BFloat16* out = group.out + n * p.head_dim;
      if (group.weight == nullptr) {
        std::copy(head, head + p.head_dim, out);
        continue;
      }
      const double root = root_of(head, p.head_dim, p.eps);
      for (int64_t i = 0; i < half; ++i) {
        const double a = group.weight[i] * to_float(head[i]) * root;
        const double b = group.weight[half + i] * to_float(head[half + i]) * root;
        const double cosine = p.cosine[token * half + i];
        const double sine = p.sine[token * half + i];
        out[i] = rounded(a * cosine - b * sine);
        out[half + i] = rounded(b * cosine + a * sine);
      }
    }
  }
}

int64_t norm_heads_gradient_workspace_bytes(int64_t head_dim) {
  return 60 * head_dim * int64_t{sizeof(float)};
}

void norm_heads_gradient(const kernels::NormHeadsGradientParams& p, kernels::CudaStream stream) {
  CallArrays arrays("norm_heads_gradient", stream);
  expect_groups("norm_heads_gradient", p);
  expect(p.gradient_stride % 8 == 0, "norm_heads_gradient: a stride of ", p.gradient_stride);
  read_rows(arrays, p);
  for (int g = 0; g < p.num_groups; ++g) {
    const kernels::HeadGroupGradient& group = p.group[g];
    arrays.reads("out_gradient", group.out_gradient, p.num_tokens * group.num_heads * p.head_dim);
    expect((group.weight == nullptr) == (group.weight_gradient == nullptr),
           "norm_heads_gradient: a weight and no gradient, or the reverse");
  }
  arrays.writes("joint_gradient", p.joint_gradient, p.num_tokens * p.gradient_stride, {p.joint});
  for (int g = 0; g < p.num_groups; ++g) {
    if (p.group[g].weight == nullptr) continue;
    arrays.writes("weight_gradient", p.group[g].weight_gradient, p.head_dim);
  }
  arrays.uses_workspace(p.workspace, norm_heads_gradient_workspace_bytes(p.head_dim));
  const int64_t half = p.head_dim / 2;
  std::vector<double> back(p.head_dim);  // the gradient of a head before it was rotated
  for (int g = 0; g < p.num_groups; ++g) {
    const kernels::HeadGroupGradient& group = p.group[g];
    std::vector<double> weight_gradient(p.head_dim);
    for (int64_t n = 0; n < p.num_tokens * group.num_heads; ++n) {
      const int64_t token = n / group.num_heads;
      const int64_t column = group.first_column + n % group.num_heads * p.head_dim;
      const BFloat16* head = p.joint + token * p.row_stride + column;
      const BFloat16* gradient = group.out_gradient + n * p.head_dim;
      BFloat16* out = p.joint_gradient + token * p.gradient_stride + column;
      if (group.weight == nullptr) {
        std::copy(gradient, gradient + p.head_dim, out);
        continue;
      }
      for (int64_t i = 0; i < half; ++i) {
        const double a = to_float(gradient[i]);
        const double b = to_float(gradient[half + i]);
        const double cosine = p.cosine[token * half + i];
        const double sine = p.sine[token * half + i];
        back[i] = a * cosine + b * sine;
        back[half + i] = b * cosine - a * sine;
      }
      const double root = root_of(head, p.head_dim, p.eps);
      double dot = 0;
      for (int64_t i = 0; i < p.head_dim; ++i) {
        const double normed = to_float(head[i]) * root;
        dot += group.weight[i] * back[i] * normed;
        weight_gradient[i] += back[i] * normed;
      }
      const double mean = dot / static_cast<double>(p.head_dim);
      for (int64_t i = 0; i < p.head_dim; ++i) {
        out[i] = rounded(root * (group.weight[i] * back[i] - to_float(head[i]) * root * mean));
      }
    }
    if (group.weight == nullptr) continue;
    std::copy(weight_gradient.begin(), weight_gradient.end(), group.weight_gradient);
  }
}

void unit_heads(const kernels::UnitHeadsParams& p, kernels::CudaStream stream) {
  CallArrays arrays("unit_heads", stream);
  if (p.num_heads == 0) return;
  expect_unit_heads("unit_heads", p.head_dim);
  arrays.reads("x", p.x, p.num_heads * p.head_dim);
  arrays.writes("out", p.out, p.num_heads * p.head_dim, {p.x});
  for (int64_t n = 0; n < p.num_heads; ++n) {
    const BFloat16* x = p.x + n * p.head_dim;
    const double length = std::max(length_of(x, p.head_dim), kShortest);
    for (int64_t i = 0; i < p.head_dim; ++i) {
      p.out[n * p.head_dim + i] = rounded(to_float(x[i]) / length);
    }
  }
}

void unit_heads_gradient(const kernels::UnitHeadsGradientParams& p, kernels::CudaStream stream) {
  CallArrays arrays("unit_heads_gradient", stream);
  if (p.num_heads == 0) return;
  expect_unit_heads("unit_heads_gradient", p.head_dim);
  const int64_t count = p.num_heads * p.head_dim;
  arrays.reads("x", p.x, count);
  arrays.reads("out_gradient", p.out_gradient, count);
  arrays.writes("x_gradient", p.x_gradient, count, {p.x, p.out_gradient});
  for (int64_t n = 0; n < p.num_heads; ++n) {
    const BFloat16* x = p.x + n * p.head_dim;
    const BFloat16* gradient = p.out_gradient + n * p.head_dim;
    const double length = length_of(x, p.head_dim);
    const double factor = length < kShortest ? 0 : 1 / length;
    double along = 0;
    for (int64_t i = 0; i < p.head_dim; ++i)
      along += to_float(gradient[i]) * to_float(x[i]) * factor;
    for (int64_t i = 0; i < p.head_dim; ++i) {
      p.x_gradient[n * p.head_dim + i] =
          rounded((to_float(gradient[i]) - to_float(x[i]) * factor * along) * factor);
    }
  }
}

}  // namespace msa::wiring
