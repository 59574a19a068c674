#include "msa/autograd/pair_scores.h"

#include "msa/autograd/best_scores.h"
#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

TEST(PairScoresRule, EqualADoubleLoopAndTheirGradientsDifferences) {
  const Tensors inputs{random_tensor({6, 5}, 1), random_tensor({9, 5}, 2)};
  const std::vector<int64_t> query_rows{5, 0, 0, 3, 5};
  const std::vector<int64_t> key_rows{8, 8, 1, 0, 8};
  const Rule rule = [&](const Tensors& in) {
    return pair_scores(in[0], in[1], tensor_of(query_rows), tensor_of(key_rows));
  };
  const auto a = values_of(inputs[0]);
  const auto b = values_of(inputs[1]);
  std::vector<double> wanted;
  for (size_t i = 0; i < query_rows.size(); ++i) {
    double sum = 0;
    for (int64_t f = 0; f < 5; ++f) sum += a[query_rows[i] * 5 + f] * b[key_rows[i] * 5 + f];
    wanted.push_back(sum);
  }
  expect_near(rule(inputs), wanted, 1e-12);
  expect_gradients(rule, inputs);
  expect_short_types(rule, inputs, 2);
}

TEST(PairScoresRule, GradientsOfBestScoresGoThroughTheirPairs) {
  const auto questions = question_blocks(std::vector<int32_t>{0, 3, 4, 9}, 11, at::kCPU);
  const auto chunk_offsets = tensor_of<int32_t>({0, 1, 5, 6, 11});
  const Rule rule = [&](const Tensors& in) {
    const auto best = best_scores(in[0], questions, in[1], chunk_offsets, 5);
    return pair_scores(in[0], in[1], best.token.flatten(), best.chunk.flatten());
  };
  expect_gradients(rule, {random_tensor({9, 12}, 3), random_tensor({11, 12}, 4)});
}

TEST(PairScoresRule, NoPairsGiveNoScores) {
  const auto none = tensor_of<int64_t>({});
  EXPECT_EQ(pair_scores(random_tensor({6, 5}, 1), random_tensor({9, 5}, 2), none, none).numel(), 0);
}

TEST(PairScoresRule, WhatDoesNotPairIsRefused) {
  const auto x = random_tensor({6, 5}, 3);
  const auto one = tensor_of<int64_t>({1});
  expect_refused([&] { pair_scores(x, random_tensor({6, 4}, 4), one, one); });
  expect_refused([&] { pair_scores(x, x.to(at::kFloat), one, one); });
  expect_refused([&] { pair_scores(x, x, one, tensor_of<int64_t>({1, 2})); });
}

}  // namespace
}  // namespace msa::autograd
