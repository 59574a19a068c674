#include "msa/autograd/token_loss.h"

#include <ATen/ops/ones.h>

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

at::Tensor random_targets(int64_t count, int64_t vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> targets(count);
  for (int64_t& target : targets) target = static_cast<int64_t>(random() % vocab_size);
  return tensor_of(targets);
}

/// Cross entropy of every token by plain loops.
std::vector<double> cross_entropies(const at::Tensor& hidden, const at::Tensor& head,
                                    const at::Tensor& targets) {
  const auto h = values_of(hidden);
  const auto w = values_of(head);
  const int64_t dim = hidden.size(1);
  std::vector<double> each;
  for (int64_t i = 0; i < hidden.size(0); ++i) {
    double total = 0;
    double chosen = 0;
    for (int64_t v = 0; v < head.size(0); ++v) {
      double logit = 0;
      for (int64_t e = 0; e < dim; ++e) logit += h[i * dim + e] * w[v * dim + e];
      total += std::exp(logit);
      if (v == targets[i].item<int64_t>()) chosen = logit;
    }
    each.push_back(std::log(total) - chosen);
  }
  return each;
}

TEST(TokenLossRule, EqualsADoubleLoop) {
  for (const int64_t count : {0, 1, 23}) {
    const auto hidden = random_tensor({count, 6}, 1);
    const auto head = random_tensor({31, 6}, 2);
    const auto targets = random_targets(count, 31, 3);
    const auto weights = random_tensor({count}, 4).abs().to(at::kFloat);
    const auto wanted = cross_entropies(hidden, head, targets);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += wanted[i] * values_of(weights)[i];
    const auto got = token_loss(hidden, head, targets, weights);
    EXPECT_NEAR(got.loss.item<double>(), sum, 1e-10);
    EXPECT_EQ(got.each.scalar_type(), at::kFloat);
    EXPECT_FALSE(got.each.requires_grad());
    expect_near(got.each, wanted, 1e-6);
  }
}

TEST(TokenLossRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  for (const int64_t count : {0, 1, 23}) {
    const auto targets = random_targets(count, 31, 5);
    const auto weights = random_tensor({count}, 6).abs().to(at::kFloat);
    const Rule rule = [&](const Tensors& in) {
      return token_loss(in[0], in[1], targets, weights).loss;
    };
    const Tensors inputs{random_tensor({count, 6}, 7), random_tensor({31, 6}, 8)};
    expect_gradients(rule, inputs);
    expect_short_types(rule, inputs, 1);
  }
}

TEST(TokenLossRule, ManyBlocksOfRowsGiveWhatOneDoes) {
  // 40 rows of 30,000 logits are two blocks on the CPU.
  const int64_t count = 40;
  const int64_t vocab_size = 30000;
  const auto hidden = random_tensor({count, 3}, 9);
  const auto head = random_tensor({vocab_size, 3}, 10);
  const auto targets = random_targets(count, vocab_size, 11);
  const auto weights = at::ones({count}, at::kFloat);
  expect_near(token_loss(hidden, head, targets, weights).each,
              cross_entropies(hidden, head, targets), 1e-6);
  const auto whole = differentiate(
      [&](const Tensors& in) { return token_loss(in[0], in[1], targets, weights).loss; },
      {hidden, head}, 12);
  const auto halves = differentiate(
      [&](const Tensors& in) {
        const auto loss = [&](int64_t first, int64_t end) {
          return token_loss(in[0].slice(0, first, end), in[1], targets.slice(0, first, end),
                            weights.slice(0, first, end))
              .loss;
        };
        return loss(0, 11) + loss(11, count);
      },
      {hidden, head}, 12);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_LT((whole.gradients[i] - halves.gradients[i]).abs().max().item<double>(), 1e-12);
  }
}

TEST(TokenLossRule, WithoutGradientsTheLossIsTheSame) {
  const auto hidden = random_tensor({9, 6}, 13).requires_grad_();
  const auto head = random_tensor({31, 6}, 14);
  const auto targets = random_targets(9, 31, 15);
  const auto weights = at::ones({9}, at::kFloat);
  const double wanted = token_loss(hidden, head, targets, weights).loss.item<double>();
  const c10::NoGradGuard no_gradients;
  const auto got = token_loss(hidden, head, targets, weights).loss;
  EXPECT_FALSE(got.requires_grad());
  EXPECT_EQ(got.item<double>(), wanted);
}

TEST(TokenLossRule, ShapesThatDoNotFitAreRefused) {
  const auto hidden = random_tensor({5, 8}, 16);
  const auto head = random_tensor({11, 8}, 17);
  const auto targets = random_targets(5, 11, 18);
  const auto weights = at::ones({5}, at::kFloat);
  expect_refused([&] { token_loss(hidden, random_tensor({11, 7}, 1), targets, weights); });
  expect_refused([&] { token_loss(hidden, head, targets.slice(0, 1), weights); });
  expect_refused([&] { token_loss(hidden, head, targets.to(at::kInt), weights); });
  expect_refused([&] { token_loss(hidden, head, targets, weights.slice(0, 1)); });
  expect_refused([&] { token_loss(hidden, head, targets + 11, weights); });
  expect_refused([&] { token_loss(hidden, head, targets - 11, weights); });
}

}  // namespace
}  // namespace msa::autograd
