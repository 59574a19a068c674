#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "msa/base/error.h"
#include "msa/kernels/route_batch.h"
#include "msa/kernels/route_batch_case.cuh"

namespace msa::kernels {
namespace {

class RouteBatchCuda : public testing::TestWithParam<RouteKeys> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
    if (!GetParam().is_packed) return;
    int major = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (major != 9) GTEST_SKIP() << "no Hopper GPU";
  }
};

TEST_P(RouteBatchCuda, ChoosesAsInDoublePrecisionForAllShapes) {
  uint32_t seed = 1;
  for (const int64_t dim : {16, 32, 48, 64, 80, 128, 256, 1024}) {
    for (const int64_t tokens : {1, 7, 8, 9, 16, 33, 48, 64, 100, 300}) {
      SCOPED_TRACE(testing::Message() << "dim " << dim << " tokens " << tokens << " seed " << seed);
      RouteCase(GetParam(), {300, 5, dim, {tokens}}, seed++).expect_chosen_as_in_double();
    }
  }
}

TEST_P(RouteBatchCuda, ChoosesAsInDoublePrecisionInALargeMemory) {
  for (uint32_t seed = 500; seed < 503; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RouteCase(GetParam(), {20'000, 3, 256, {40}, 64}, seed).expect_chosen_as_in_double();
  }
}

TEST_P(RouteBatchCuda, QuestionsOfOneBatchDoNotTouchEachOther) {
  RouteCase together(GetParam(), {900, 4, 128, {1, 40, 8, 13, 64, 5, 100, 2}}, 31);
  together.expect_chosen_as_in_double();
  together.hidden.resize(8 * together.mask_words());
  std::mt19937 random(32);
  for (uint32_t& word : together.hidden) word = static_cast<uint32_t>(random());
  together.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, ManyTokensChooseAsInDoublePrecision) {
  const std::vector<std::vector<int64_t>> batches = {
      {48, 48, 48, 48, 48, 48, 48, 48}, {300, 5, 193, 64, 1, 104, 48, 7}, {600}};
  uint32_t seed = 700;
  for (const auto& tokens : batches) {
    for (const int64_t dim : {80, 144, 256}) {
      SCOPED_TRACE(testing::Message() << "dim " << dim << " seed " << seed);
      RouteCase many(GetParam(), {200, 30, dim, tokens}, seed++);
      many.expect_chosen_as_in_double();
      many.hidden.resize(tokens.size() * many.mask_words());
      std::mt19937 random(seed);
      for (uint32_t& word : many.hidden) word = static_cast<uint32_t>(random());
      many.expect_chosen_as_in_double();
    }
  }
}

TEST_P(RouteBatchCuda, FewDocumentsAndHiddenOnesLeavePlacesEmpty) {
  RouteCase few(GetParam(), {20, 1, 64, {12, 3}}, 41);
  few.expect_chosen_as_in_double();
  few.hidden = {0xfffffffeU, 0xffffffffU};
  few.expect_chosen_as_in_double();
  RouteCase(GetParam(), {1, 1, 64, {5}, 1}, 42).expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, EqualDocumentsAreChosenByLowerPlace) {
  RouteCase c(GetParam(), {40, 3, 64, {9}, 4}, 5);
  std::vector<int64_t> equal;
  for (int64_t n = 0; n < 40; ++n) {
    if (n % 3 != 1 || c.first_chunk[n] == c.first_chunk[n + 1]) continue;
    for (int64_t i = 0; i < 64; ++i) {
      c.keys[(c.first_chunk[n + 1] - 1) * 64 + i] = c.query[2 * 64 + i] * 3;
    }
    equal.push_back(n);
  }
  ASSERT_GE(equal.size(), 6U);
  c.store();
  const auto got = c.run();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(got[i].document, equal[i]);
    EXPECT_EQ(got[i].score, got[0].score);
  }
}

TEST_P(RouteBatchCuda, ThousandsOfEqualCandidatesAreChosenByLowerPlace) {
  constexpr int64_t kDocuments = 20'000;
  constexpr int64_t kTopK = 64;
  RouteCase c(GetParam(), {kDocuments, 1, 64, {3, 5}, kTopK}, 51);
  std::fill(c.keys.begin(), c.keys.end(), 0.25F);
  c.store();
  c.hidden.resize(2 * c.mask_words());
  std::fill(c.hidden.begin() + c.mask_words(), c.hidden.end(), 0x55555555U);  // even ones
  const auto got = c.run();
  for (int64_t question = 0; question < 2; ++question) {
    int64_t place = 0;
    for (int64_t n = 0; n < kDocuments && place < kTopK; ++n) {
      const bool is_empty = c.first_chunk[n] == c.first_chunk[n + 1];
      if (is_empty || (question == 1 && n % 2 == 0)) continue;
      EXPECT_EQ(got[question * kTopK + place].document, n) << "question " << question;
      ++place;
    }
    EXPECT_EQ(place, kTopK);
  }
}

TEST_P(RouteBatchCuda, ALongKeyIsFoundWhereTheQueryRoundsToNothing) {
  // The only value that matters is lost beside a large one.
  RouteCase c(GetParam(), {50, 2, 64, {1}, 1}, 6);
  std::fill(c.query.begin(), c.query.end(), 0.0F);
  c.query[0] = 1;
  c.query[1] = 1e-3F;
  std::fill(c.keys.begin(), c.keys.end(), 0.0F);
  for (int64_t chunk = 0; chunk < c.num_chunks(); ++chunk) c.keys[chunk * 64] = 1;
  const int64_t best = c.num_chunks() / 2;
  c.keys[best * 64] = 0;
  c.keys[best * 64 + 1] = 1050;
  c.store();
  c.expect_chosen_as_in_double();
  EXPECT_EQ(c.run()[0].document, c.document_of_chunk[best]);
}

TEST_P(RouteBatchCuda, LongShortAndEmptyKeysChooseAsInDoublePrecision) {
  // Lengths over 12 orders of magnitude, keys of zeros, and the best ones neither long nor near.
  RouteCase c(GetParam(), {2000, 4, 256, {48, 9}}, 61);
  std::mt19937 random(62);
  for (int64_t chunk = 0; chunk < c.num_chunks(); ++chunk) {
    const auto kind = random() % 4;
    const float length = kind == 0   ? 0.0F
                         : kind == 1 ? std::pow(10.0F, -1.0F - static_cast<float>(random() % 12))
                                     : 1.0F;
    for (int64_t i = 0; i < 256; ++i) c.keys[chunk * 256 + i] *= length;
  }
  c.store();
  c.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, KeysAndQueriesOfOneLargeValueChooseAsInDoublePrecision) {
  RouteCase c(GetParam(), {3000, 3, 384, {33}}, 71);
  std::mt19937 random(72);
  for (int64_t chunk = 0; chunk < c.num_chunks(); ++chunk) {
    c.keys[chunk * 384 + random() % 384] += 3;
  }
  for (int64_t t = 0; t < 33; ++t) c.query[t * 384 + random() % 384] += 50;
  c.store();
  c.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, KeysOfOneOrTwoValuesChooseAsInDoublePrecision) {
  uint32_t seed = 73;
  for (const int64_t dim : {128, 384, 1024}) {
    for (const bool are_queries_alike : {false, true}) {
      SCOPED_TRACE(testing::Message() << "dim " << dim << " seed " << seed);
      RouteCase c(GetParam(), {3000, 3, dim, {33, 8}}, seed);
      std::mt19937 random(seed + 1000);
      std::fill(c.keys.begin(), c.keys.end(), 0.0F);
      const auto value = [&] { return static_cast<float>(random() % 2001) / 1000 - 1; };
      for (int64_t chunk = 0; chunk < c.num_chunks(); ++chunk) {
        for (uint32_t i = 0; i <= random() % 2; ++i) c.keys[chunk * dim + random() % dim] = value();
      }
      if (are_queries_alike) {
        for (int64_t t = 0; t < 41; ++t) c.query[t * dim + random() % dim] += 40 * value();
      }
      c.store();
      c.expect_chosen_as_in_double();
      ++seed;
    }
  }
}

TEST_P(RouteBatchCuda, TokensThatAreNotNumbersAreLeftOut) {
  RouteCase c(GetParam(), {900, 4, 128, {40, 9, 130}}, 76);
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  c.query[2 * 128 + 5] = kNaN;
  std::fill(c.query.begin() + 16 * 128, c.query.begin() + 29 * 128, kNaN);
  std::fill(c.query.begin() + 52 * 128, c.query.begin() + 53 * 128, -kNaN);
  c.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, AQuestionOfNoNumbersChoosesTheFirstDocuments) {
  RouteCase c(GetParam(), {5000, 4, 128, {40, 9}}, 77);
  std::fill(c.query.begin(), c.query.begin() + 40 * 128, std::numeric_limits<float>::quiet_NaN());
  const auto got = c.run();
  int64_t place = 0;
  for (int64_t n = 0; place < 16; ++n) {
    if (c.first_chunk[n] == c.first_chunk[n + 1]) continue;
    EXPECT_EQ(got[place].document, n);
    EXPECT_EQ(got[place].score, kLowest);
    ++place;
  }
  const auto wanted = c.reference(1);
  EXPECT_NEAR(got[16].score, *std::max_element(wanted.begin(), wanted.end()), 2e-5);
}

TEST_P(RouteBatchCuda, NearlyEqualKeysChooseAsInDoublePrecision) {
  // Scores differ by much less than a scan can tell.
  RouteCase c(GetParam(), {4000, 2, 128, {5}, 32}, 81);
  const auto noise = random_floats(c.keys.size(), 82, 0.002F);
  for (size_t i = 0; i < c.keys.size(); ++i) c.keys[i] = c.query[i % 128] + noise[i];
  c.store();
  c.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, FewChunksOfALargeMemoryAreScoredAgain) {
  const RouteCase c(GetParam(), {20'000, 5, 1024, {48}}, 91);
  c.run();
  EXPECT_GE(c.rescored[0], 16);
  EXPECT_LT(c.rescored[0], c.num_chunks() / 20);
}

TEST_P(RouteBatchCuda, EveryDocumentsScoreIsAdded) {
  const double scanned_near = GetParam().is_packed ? 1 : 0.1;
  for (const int most_chunks : {3, 150}) {
    SCOPED_TRACE(testing::Message() << most_chunks << " chunks");
    const RouteCase c(GetParam(), {300, most_chunks, 256, {33, 170}}, 95);
    const auto chosen = c.run();
    for (int64_t question = 0; question < 2; ++question) {
      const auto wanted = c.reference(question);
      const float* sum = c.score_sum.data() + question * 300;
      for (int64_t n = 0; n < 300; ++n) {
        if (wanted[n] == kLowest) {
          EXPECT_EQ(sum[n], kLowest) << n;
          continue;
        }
        EXPECT_NEAR((sum[n] - 1) / RouteCase::kScoreShare, wanted[n], scanned_near) << n;
      }
      for (int64_t i = 0; i < 16; ++i) {
        const auto& [document, score] = chosen[question * 16 + i];
        EXPECT_EQ(sum[document], 1 + RouteCase::kScoreShare * score) << document;
      }
    }
  }
}

TEST_P(RouteBatchCuda, FewLongDocumentsChooseAsInDoublePrecision) {
  RouteCase c(GetParam(), {40, 400, 128, {20, 9}}, 97);
  c.expect_chosen_as_in_double();
  c.hidden.resize(2 * c.mask_words());
  c.hidden[0] = 0x0f0f0f0fU;
  c.expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, RepeatedRunsGiveEqualBits) {
  const RouteCase c(GetParam(), {3000, 4, 256, {40, 17}}, 9);
  const auto first = c.run();
  for (int i = 0; i < 5; ++i) {
    const auto again = c.run();
    for (size_t k = 0; k < first.size(); ++k) {
      EXPECT_EQ(first[k].document, again[k].document);
      EXPECT_EQ(first[k].score, again[k].score);
    }
  }
}

TEST_P(RouteBatchCuda, ShapesOutsideTheRangesAreRefused) {
  const int64_t first_token[] = {0, 4};
  const RouteBatchParams good{.key_type = GetParam().type,
                              .first_token = first_token,
                              .num_questions = 1,
                              .num_documents = 3,
                              .num_chunks = 3,
                              .key_dim = 64,
                              .top_k = 2};
  EXPECT_GT(route_batch_workspace_bytes(good), 0);
  const auto expect_refused = [&](void (*change)(RouteBatchParams&)) {
    RouteBatchParams bad = good;
    change(bad);
    EXPECT_THROW(route_batch_workspace_bytes(bad), Error);
  };
  expect_refused([](RouteBatchParams& p) { p.key_type = NumberType::kFloat32; });
  expect_refused([](RouteBatchParams& p) { p.num_questions = 0; });
  expect_refused([](RouteBatchParams& p) { p.num_documents = 0; });
  expect_refused([](RouteBatchParams& p) { p.num_chunks = 0; });
  expect_refused([](RouteBatchParams& p) { p.key_dim = 7; });
  expect_refused([](RouteBatchParams& p) { p.top_k = 0; });
  expect_refused([](RouteBatchParams& p) { p.top_k = 4; });
  expect_refused([](RouteBatchParams& p) {
    static std::byte packed;
    p.packed.value = &packed;
    p.key_dim = kMostPackedDim + 16;
  });
}

INSTANTIATE_TEST_SUITE_P(Types, RouteBatchCuda,
                         testing::Values(RouteKeys{NumberType::kBFloat16},
                                         RouteKeys{NumberType::kInt8},
                                         RouteKeys{NumberType::kBFloat16, true},
                                         RouteKeys{NumberType::kInt8, true}),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace msa::kernels
