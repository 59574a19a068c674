#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/norm_heads.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr float kEps = 1e-6F;
constexpr int64_t kHeads[] = {6, 2, 2};  // queries, keys, and values, which are copied
constexpr int kGroups = 3;

/// Joint rows with eight numbers of something else before the heads and behind them.
struct Joint {
  Joint(int64_t num_tokens, int64_t head_dim)
      : num_tokens(num_tokens),
        head_dim(head_dim),
        row_stride(10 * head_dim + 16),
        rows(rounded(random_floats(num_tokens * row_stride, 3, 2))),
        weight(random_floats(2 * head_dim, 4)),
        cosine(num_tokens * head_dim / 2),
        sine(num_tokens * head_dim / 2) {
    for (size_t i = 0; i < cosine.size(); ++i) {
      cosine[i] = std::cos(static_cast<float>(i));
      sine[i] = std::sin(static_cast<float>(i));
    }
  }

  /// Column of a group's first head.
  int64_t column(int group) const {
    int64_t heads = 0;
    for (int g = 0; g < group; ++g) heads += kHeads[g];
    return 8 + heads * head_dim;
  }
  int64_t place(int group, int64_t token, int64_t head) const {
    return token * row_stride + column(group) + head * head_dim;
  }
  int64_t count(int group) const { return num_tokens * kHeads[group] * head_dim; }
  double at(int64_t place) const { return to_float(rows[place]); }
  double root(int64_t place) const {
    double squares = 0;
    for (int64_t i = 0; i < head_dim; ++i) squares += at(place + i) * at(place + i);
    return 1 / std::sqrt(squares / static_cast<double>(head_dim) + kEps);
  }
  std::string name() const {
    return std::to_string(num_tokens) + " tokens, heads of " + std::to_string(head_dim);
  }

  int64_t num_tokens;
  int64_t head_dim;
  int64_t row_stride;
  std::vector<BFloat16> rows;
  std::vector<float> weight;  // of the queries, then of the keys
  std::vector<float> cosine;
  std::vector<float> sine;
};

/// Rotates the halves of a head by a token's angles, or back with `sign` -1.
void rotate(const Joint& joint, int64_t token, double sign, std::vector<double>& head) {
  const int64_t half = joint.head_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    const int64_t angle = token * half + i;
    const double cosine = joint.cosine[angle];
    const double sine = sign * joint.sine[angle];
    const double a = head[i];
    const double b = head[half + i];
    head[i] = a * cosine - b * sine;
    head[half + i] = b * cosine + a * sine;
  }
}

void compare_heads(const Joint& joint) {
  const auto rows = to_device(joint.rows);
  const auto weight = to_device(joint.weight);
  const auto cosine = to_device(joint.cosine);
  const auto sine = to_device(joint.sine);
  std::vector<DeviceArray<BFloat16>> out;
  NormHeadsParams params{.joint = rows.get(),
                         .row_stride = joint.row_stride,
                         .num_groups = kGroups,
                         .cosine = cosine.get(),
                         .sine = sine.get(),
                         .num_tokens = joint.num_tokens,
                         .head_dim = joint.head_dim,
                         .eps = kEps};
  for (int g = 0; g < kGroups; ++g) {
    out.push_back(unwritten_array<BFloat16>(joint.count(g)));
    params.group[g] = {.first_column = joint.column(g),
                       .num_heads = kHeads[g],
                       .weight = g == 2 ? nullptr : weight.get() + g * joint.head_dim,
                       .out = out.back().get()};
  }
  norm_heads_cuda(params, nullptr);
  for (int g = 0; g < kGroups; ++g) {
    std::vector<double> wanted;
    for (int64_t t = 0; t < joint.num_tokens; ++t) {
      for (int64_t h = 0; h < kHeads[g]; ++h) {
        const int64_t place = joint.place(g, t, h);
        std::vector<double> head;
        for (int64_t i = 0; i < joint.head_dim; ++i) {
          const double factor =
              g == 2 ? 1 : joint.root(place) * joint.weight[g * joint.head_dim + i];
          head.push_back(joint.at(place + i) * factor);
        }
        if (g < 2) rotate(joint, t, 1, head);
        wanted.insert(wanted.end(), head.begin(), head.end());
      }
    }
    expect_near(widened(to_host(out[g], wanted.size())), wanted, kRounded,
                joint.name() + ", group " + std::to_string(g));
  }
}

TEST(NormHeadsCuda, HeadsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t head_dim : {16, 32, 48, 64, 96, 128, 256}) {
    compare_heads(Joint(37, head_dim));
  }
}

struct Gradients {
  std::vector<float> joint;
  std::vector<float> weight;
};

Gradients gradients_of(const Joint& joint, const std::vector<std::vector<BFloat16>>& out_gradient) {
  const auto rows = to_device(joint.rows);
  const auto weight = to_device(joint.weight);
  const auto cosine = to_device(joint.cosine);
  const auto sine = to_device(joint.sine);
  const auto joint_gradient = unwritten_array<BFloat16>(joint.rows.size());
  const auto weight_gradient = unwritten_array<float>(joint.weight.size());
  const auto workspace = unwritten_array<char>(norm_heads_gradient_workspace_bytes(joint.head_dim));
  std::vector<DeviceArray<BFloat16>> gradient;
  NormHeadsGradientParams params{.joint = rows.get(),
                                 .joint_gradient = joint_gradient.get(),
                                 .row_stride = joint.row_stride,
                                 .gradient_stride = joint.row_stride,
                                 .num_groups = kGroups,
                                 .cosine = cosine.get(),
                                 .sine = sine.get(),
                                 .workspace = workspace.get(),
                                 .num_tokens = joint.num_tokens,
                                 .head_dim = joint.head_dim,
                                 .eps = kEps};
  for (int g = 0; g < kGroups; ++g) {
    gradient.push_back(to_device(out_gradient[g]));
    const bool is_copied = g == 2;
    params.group[g] = {
        .first_column = joint.column(g),
        .num_heads = kHeads[g],
        .weight = is_copied ? nullptr : weight.get() + g * joint.head_dim,
        .out_gradient = gradient.back().get(),
        .weight_gradient = is_copied ? nullptr : weight_gradient.get() + g * joint.head_dim};
  }
  norm_heads_gradient_cuda(params, nullptr);
  return {widened(to_host(joint_gradient, joint.rows.size())),
          to_host(weight_gradient, joint.weight.size())};
}

void compare_gradients(const Joint& joint) {
  std::vector<std::vector<BFloat16>> out_gradient;
  for (int g = 0; g < kGroups; ++g) {
    out_gradient.push_back(rounded(random_floats(joint.count(g), 10 + g)));
  }
  const int64_t dim = joint.head_dim;
  std::vector<double> wanted(joint.rows.size(), NAN);
  std::vector<double> wanted_weight(joint.weight.size());
  for (int g = 0; g < kGroups; ++g) {
    for (int64_t item = 0; item < joint.num_tokens * kHeads[g]; ++item) {
      const int64_t token = item / kHeads[g];
      const int64_t place = joint.place(g, token, item % kHeads[g]);
      std::vector<double> gradient;
      for (int64_t i = 0; i < dim; ++i) {
        gradient.push_back(to_float(out_gradient[g][item * dim + i]));
      }
      if (g == 2) {
        for (int64_t i = 0; i < dim; ++i) wanted[place + i] = gradient[i];
        continue;
      }
      rotate(joint, token, -1, gradient);
      const double root = joint.root(place);
      double mean = 0;
      for (int64_t i = 0; i < dim; ++i) {
        const double normed = joint.at(place + i) * root;
        wanted_weight[g * dim + i] += gradient[i] * normed;
        gradient[i] *= joint.weight[g * dim + i];
        mean += gradient[i] * normed / static_cast<double>(dim);
      }
      for (int64_t i = 0; i < dim; ++i) {
        wanted[place + i] = root * (gradient[i] - joint.at(place + i) * root * mean);
      }
    }
  }
  const Gradients got = gradients_of(joint, out_gradient);
  std::vector<float> heads;
  std::vector<double> wanted_heads;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(std::isnan(got.joint[i]), std::isnan(wanted[i])) << joint.name() << " at " << i;
    if (std::isnan(wanted[i])) continue;  // no head's
    heads.push_back(got.joint[i]);
    wanted_heads.push_back(wanted[i]);
  }
  expect_near(heads, wanted_heads, kRounded, joint.name());
  expect_near(got.weight, wanted_weight, kSummed, joint.name());
  EXPECT_EQ(got.weight, gradients_of(joint, out_gradient).weight) << joint.name();
}

TEST(NormHeadsCuda, GradientsEqualADoubleLoopAndRepeat) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const int64_t head_dim : {16, 32, 48, 64, 96, 128, 256}) {
    compare_gradients(Joint(1, head_dim));
    compare_gradients(Joint(37, head_dim));
    compare_gradients(Joint(head_dim > 64 ? 1000 : 4000, head_dim));
  }
}

TEST(NormHeadsCuda, OfNoTokensTheWeightsHaveNoGradient) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  const Joint joint(0, 64);
  EXPECT_EQ(gradients_of(joint, {{}, {}, {}}).weight, std::vector<float>(128, 0.0F));
}

TEST(NormHeadsCuda, OtherHeadsAreRefused) {
  const auto refuse = [](int64_t head_dim, int64_t column, int64_t num_heads, int num_groups) {
    NormHeadsParams params{.num_groups = num_groups, .num_tokens = 1, .head_dim = head_dim};
    params.group[0] = {.first_column = column, .num_heads = num_heads};
    EXPECT_THROW(norm_heads_cuda(params, nullptr), Error);
    NormHeadsGradientParams gradient{
        .num_groups = num_groups, .num_tokens = 1, .head_dim = head_dim};
    gradient.group[0] = {.first_column = column, .num_heads = num_heads};
    EXPECT_THROW(norm_heads_gradient_cuda(gradient, nullptr), Error);
  };
  refuse(24, 0, 1, 1);
  refuse(kLargestLearnedHead + 16, 0, 1, 1);
  refuse(64, 4, 1, 1);
  refuse(64, 0, 0, 1);
  refuse(64, 0, 1, 0);
  refuse(64, 0, 1, kMostHeadGroups + 1);
}

}  // namespace
}  // namespace msa::kernels
