#include "msa/autograd/best_scores.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

struct Case {
  std::vector<int32_t> query_offsets;
  std::vector<int32_t> chunk_offsets;
};

/// Compares with loops over all pairs; the places must give the scores.
void expect_best(const BestScores& got, const at::Tensor& queries, const at::Tensor& keys,
                 const Case& c, double tolerance) {
  const auto q = values_of(queries);
  const auto k = values_of(keys);
  const int64_t dim = queries.size(1);
  const auto dot = [&](int64_t row, int64_t chunk) {
    double sum = 0;
    for (int64_t f = 0; f < dim; ++f) sum += q[row * dim + f] * k[chunk * dim + f];
    return sum;
  };
  const auto scores = values_of(got.scores);
  const auto tokens = values_of(got.token);
  const auto chunks = values_of(got.chunk);
  size_t place = 0;
  for (size_t a = 0; a + 1 < c.query_offsets.size(); ++a) {
    for (size_t d = 0; d + 1 < c.chunk_offsets.size(); ++d, ++place) {
      double best = -1e300;
      for (int64_t t = c.query_offsets[a]; t < c.query_offsets[a + 1]; ++t) {
        for (int64_t j = c.chunk_offsets[d]; j < c.chunk_offsets[d + 1]; ++j) {
          best = std::max(best, dot(t, j));
        }
      }
      ASSERT_NEAR(scores[place], best, tolerance);
      const auto token = static_cast<int64_t>(tokens[place]);
      const auto chunk = static_cast<int64_t>(chunks[place]);
      ASSERT_TRUE(c.query_offsets[a] <= token && token < c.query_offsets[a + 1]);
      ASSERT_TRUE(c.chunk_offsets[d] <= chunk && chunk < c.chunk_offsets[d + 1]);
      ASSERT_NEAR(dot(token, chunk), best, tolerance);
    }
  }
  ASSERT_EQ(scores.size(), place);
}

/// Offsets of `count` segments of 1 to `longest` rows.
std::vector<int32_t> random_offsets(int64_t count, int64_t longest, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> offsets{0};
  for (int64_t i = 0; i < count; ++i) {
    offsets.push_back(offsets.back() + 1 + static_cast<int32_t>(random() % longest));
  }
  return offsets;
}

TEST(BestScores, EqualLoopsOverAllPairsPaddedOrNot) {
  uint32_t seed = 1;
  for (const auto& c :
       {Case{{0, 1}, {0, 1}}, Case{{0, 5}, {0, 7}}, Case{{0, 3, 4, 9}, {0, 1, 5, 6}},
        Case{random_offsets(40, 30, 2), random_offsets(200, 12, 3)}}) {
    const auto queries = random_tensor({c.query_offsets.back(), 12}, ++seed);
    const auto keys = random_tensor({c.chunk_offsets.back(), 12}, ++seed);
    for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const auto run = [&](const auto& function, int64_t longest) {
        return function(queries.to(type), tensor_of(c.query_offsets), keys.to(type),
                        tensor_of(c.chunk_offsets), longest, longest);
      };
      expect_best(run(best_scores, 0), queries, keys, c, 2e-5);
      // A CPU's products of bfloat16 are rounded to it.
      expect_best(run(padded_best_scores, 30), queries, keys, c,
                  type == at::kBFloat16 ? 0.1 : 2e-5);
    }
  }
}

TEST(BestScores, OfEqualOnesTheFirst) {
  const auto queries = at::ones({4, 2}, at::kFloat);
  const auto keys = at::ones({6, 2}, at::kFloat);
  const auto got =
      best_scores(queries, tensor_of<int32_t>({0, 1, 4}), keys, tensor_of<int32_t>({0, 2, 6}));
  EXPECT_EQ(values_of(got.token), (std::vector<double>{0, 0, 1, 1}));
  EXPECT_EQ(values_of(got.chunk), (std::vector<double>{0, 2, 0, 2}));
}

TEST(BestScores, NoQuestionsOrNoDocumentsHaveNoScores) {
  const auto none = at::empty({0, 2}, at::kFloat);
  const auto some = at::ones({3, 2}, at::kFloat);
  const auto zero = tensor_of<int32_t>({0});
  const auto three = tensor_of<int32_t>({0, 3});
  EXPECT_EQ(best_scores(none, zero, some, three).scores.sizes(), (at::IntArrayRef{0, 1}));
  EXPECT_EQ(best_scores(some, three, none, zero).token.sizes(), (at::IntArrayRef{1, 0}));
}

TEST(BestScores, HaveNoGradients) {
  const auto queries = random_tensor({3, 2}, 4).requires_grad_();
  const auto three = tensor_of<int32_t>({0, 3});
  EXPECT_FALSE(best_scores(queries, three, queries, three).scores.requires_grad());
}

TEST(BestScores, SegmentsWithoutRowsAndShapesThatDoNotFitAreRefused) {
  const auto x = random_tensor({3, 2}, 5);
  const auto three = tensor_of<int32_t>({0, 3});
  expect_refused([&] { best_scores(x, tensor_of<int32_t>({0, 0, 3}), x, three); });
  expect_refused([&] { best_scores(x, three, x, tensor_of<int32_t>({0, 3, 3})); });
  expect_refused([&] { best_scores(x, tensor_of<int32_t>({0, 2}), x, three); });
  expect_refused([&] { best_scores(x, three, random_tensor({3, 4}, 6), three); });
}

}  // namespace
}  // namespace msa::autograd
