#include "msa/autograd/best_scores.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

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

QuestionBlocks questions_of(const std::vector<int32_t>& offsets) {
  return question_blocks(offsets, 8, at::kCPU);
}

TEST(BestScores, EqualLoopsOverAllPairsPaddedOrNot) {
  uint32_t seed = 1;
  for (const auto& c :
       {Case{{0, 1}, {0, 1}}, Case{{0, 5}, {0, 7}}, Case{{0, 3, 4, 9}, {0, 1, 5, 6}},
        Case{random_offsets(40, 30, 2), random_offsets(200, 12, 3)}}) {
    const auto queries = random_tensor({c.query_offsets.back(), 12}, ++seed);
    const auto keys = random_tensor({c.chunk_offsets.back(), 12}, ++seed);
    for (const auto type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const auto questions = question_blocks(c.query_offsets, c.chunk_offsets.back(), at::kCPU);
      const auto run = [&](const auto& function) {
        return function(queries.to(type), questions, keys.to(type), tensor_of(c.chunk_offsets), 13);
      };
      expect_best(run(best_scores), queries, keys, c, 2e-5);
      // A CPU's products of bfloat16 are rounded to it.
      expect_best(run(padded_best_scores), queries, keys, c, type == at::kBFloat16 ? 0.1 : 2e-5);
    }
  }
}

TEST(BestScores, BlocksHoldEveryQuestionOnceAndLittleMore) {
  const auto offsets = random_offsets(500, 60, 7);
  constexpr int64_t kChunks = 1 << 20;
  const auto made = question_blocks(offsets, kChunks, at::kCPU);
  const auto questions = values_of(made.questions);
  const auto rows = values_of(made.rows);
  std::vector<bool> is_found(500);
  size_t place = 0;
  size_t row = 0;
  for (const auto& [count, longest] : made.blocks) {
    EXPECT_LE(count * longest * kChunks, int64_t{1} << 27);
    for (int64_t i = 0; i < count; ++i, ++place) {
      const auto a = static_cast<size_t>(questions[place]);
      EXPECT_FALSE(is_found[a]);
      is_found[a] = true;
      const int32_t length = offsets[a + 1] - offsets[a];
      EXPECT_LE(longest, length * 1.25 + 5);
      for (int32_t r = 0; r < longest; ++r, ++row) {
        EXPECT_EQ(rows[row], offsets[a] + std::min(r, length - 1));
      }
    }
  }
  EXPECT_EQ(place, 500);
  EXPECT_EQ(row, rows.size());
}

TEST(BestScores, OfEqualOnesTheFirst) {
  const auto queries = at::ones({4, 2}, at::kFloat);
  const auto keys = at::ones({6, 2}, at::kFloat);
  const auto got =
      best_scores(queries, questions_of({0, 1, 4}), keys, tensor_of<int32_t>({0, 2, 6}), 4);
  EXPECT_EQ(values_of(got.token), (std::vector<double>{0, 0, 1, 1}));
  EXPECT_EQ(values_of(got.chunk), (std::vector<double>{0, 2, 0, 2}));
}

TEST(BestScores, NoQuestionsOrNoDocumentsHaveNoScores) {
  const auto none = at::empty({0, 2}, at::kFloat);
  const auto some = at::ones({3, 2}, at::kFloat);
  const auto zero = tensor_of<int32_t>({0});
  const auto three = tensor_of<int32_t>({0, 3});
  for (const auto& run : {best_scores, padded_best_scores}) {
    EXPECT_EQ(run(none, questions_of({0}), some, three, 3).scores.sizes(), (at::IntArrayRef{0, 1}));
    EXPECT_EQ(run(some, questions_of({0, 3}), none, zero, 0).token.sizes(),
              (at::IntArrayRef{1, 0}));
  }
}

TEST(BestScores, HaveNoGradients) {
  const auto queries = random_tensor({3, 2}, 4).requires_grad_();
  const auto three = tensor_of<int32_t>({0, 3});
  EXPECT_FALSE(
      best_scores(queries, questions_of({0, 3}), queries, three, 3).scores.requires_grad());
}

TEST(BestScores, SegmentsWithoutRowsAndShapesThatDoNotFitAreRefused) {
  const auto x = random_tensor({3, 2}, 5);
  const auto three = tensor_of<int32_t>({0, 3});
  const auto questions = questions_of({0, 3});
  expect_refused([] { questions_of({0, 0, 3}); });
  expect_refused([&] { best_scores(x, questions, x, tensor_of<int32_t>({0, 3, 3}), 3); });
  expect_refused([&] { best_scores(x, questions_of({0, 2}), x, three, 3); });
  expect_refused([&] { best_scores(x, questions, random_tensor({3, 4}, 6), three, 3); });
}

}  // namespace
}  // namespace msa::autograd
