#include "msa/kernels/route_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/threads.h"
#include "msa/kernels/cpu_features.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/test_values.h"
#include "msa/kernels/top_documents.h"

namespace msa::kernels {
namespace {

struct Case {
  std::vector<float> keys;  // before rounding
  std::vector<std::byte> stored;
  std::vector<float> scale;
  std::vector<float> query;
  std::vector<int64_t> first_chunk{0};
  RouteScoresParams params;
};

/// Rounds the keys.
void store_keys(Case& c, NumberType type, int64_t dim) {
  const auto num_chunks = static_cast<int64_t>(c.keys.size()) / dim;
  c.stored.resize(c.keys.size() * bytes_of(type));
  c.scale.resize(num_chunks);
  quantize_rows({.row = c.keys.data(),
                 .num_rows = num_chunks,
                 .dim = dim,
                 .type = type,
                 .out = c.stored.data(),
                 .scale = c.scale.data()});
}

/// Random unit-like keys and queries; documents of 0 to `most` chunks.
Case make_case(NumberType type, int64_t num_documents, int64_t most, int64_t dim,
               int64_t num_tokens, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Case c;
  for (int64_t n = 0; n < num_documents; ++n) {
    c.first_chunk.push_back(c.first_chunk.back() +
                            static_cast<int64_t>(random() % static_cast<uint32_t>(most + 1)));
  }
  c.keys.resize(c.first_chunk.back() * dim);
  c.query.resize(num_tokens * dim);
  const float unit = 1.0F / std::sqrt(static_cast<float>(dim));
  for (float& value : c.keys) value = normal(random) * unit;
  for (float& value : c.query) value = normal(random) * unit;
  store_keys(c, type, dim);
  c.params = {.key_type = type,
              .key = c.stored.data(),
              .key_scale = c.scale.data(),
              .first_chunk = c.first_chunk.data(),
              .query = c.query.data(),
              .num_documents = num_documents,
              .num_tokens = num_tokens,
              .key_dim = dim};
  return c;
}

/// Plain double loops over the keys before rounding.
std::vector<double> reference(const Case& c) {
  std::vector<double> scores;
  const int64_t dim = c.params.key_dim;
  for (int64_t n = 0; n < c.params.num_documents; ++n) {
    double best = -std::numeric_limits<double>::infinity();
    for (int64_t chunk = c.first_chunk[n]; chunk < c.first_chunk[n + 1]; ++chunk) {
      for (int64_t t = 0; t < c.params.num_tokens; ++t) {
        double dot = 0;
        for (int64_t i = 0; i < dim; ++i) {
          dot += static_cast<double>(c.keys[chunk * dim + i]) * c.query[t * dim + i];
        }
        best = std::max(best, dot);
      }
    }
    scores.push_back(best);
  }
  return scores;
}

struct Routed {
  std::vector<ScoredDocument> selected;
  std::vector<float> scores;
};

Routed run(Case& c, int64_t top_k) {
  Routed routed;
  routed.selected.resize(top_k);
  routed.scores.resize(c.params.num_documents);
  c.params.top_k = top_k;
  c.params.selected = routed.selected.data();
  c.params.document_scores = routed.scores.data();
  constexpr size_t kGuard = 64;
  const auto bytes = static_cast<size_t>(route_scores_workspace_bytes(c.params));
  std::vector<std::byte> memory(bytes + 2 * kGuard, std::byte{0x5a});
  auto* aligned =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  route_scores_cpu(c.params, aligned);
  for (const std::byte* b = aligned + bytes; b < memory.data() + memory.size(); ++b) {
    EXPECT_EQ(*b, std::byte{0x5a}) << "wrote past the workspace";
  }
  return routed;
}

double tolerance(NumberType type) {
  return type == NumberType::kFloat32 ? 2e-6 : type == NumberType::kBFloat16 ? 4e-3 : 8e-3;
}

/// Instructions: those of the key's type, or float32 ones of a level.
struct Way {
  const char* name;
  bool is_wide;
  VectorLevel level;
};

class RouteScores : public testing::TestWithParam<std::tuple<NumberType, Way>> {
 protected:
  void SetUp() override {
    const Way& way = std::get<1>(GetParam());
    set_wide_routing_only(way.is_wide);
    limit_vector_level(way.level);
    if (vector_level() != way.level) GTEST_SKIP() << "this CPU lacks the instructions";
  }
  void TearDown() override {
    set_wide_routing_only(false);
    limit_vector_level(VectorLevel::kAvx512);
  }
  NumberType type() const { return std::get<0>(GetParam()); }
};

TEST_P(RouteScores, EveryScoreIsNearADoubleLoopForAllShapes) {
  uint32_t seed = 1;
  for (const int64_t dim : {1, 3, 16, 30, 32, 127, 128, 257, 1024}) {
    for (const int64_t num_tokens : {1, 5, 16, 17, 48, 49, 100}) {
      Case c = make_case(type(), 23, 5, dim, num_tokens, ++seed);
      const Routed routed = run(c, 7);
      const auto wanted = reference(c);
      for (size_t n = 0; n < wanted.size(); ++n) {
        if (std::isinf(wanted[n])) {
          EXPECT_EQ(routed.scores[n], -std::numeric_limits<float>::infinity());
          continue;
        }
        // Rounding errors add like a random walk over the vector's length.
        const double allowed =
            tolerance(type()) * 4 / std::sqrt(static_cast<double>(dim)) + tolerance(type());
        EXPECT_NEAR(routed.scores[n], wanted[n], allowed)
            << "document " << n << " dim " << dim << " tokens " << num_tokens << " seed " << seed;
      }
    }
  }
}

TEST_P(RouteScores, TheSameDocumentsAreChosenAsInDoublePrecision) {
  for (uint32_t seed = 100; seed < 104; ++seed) {
    Case c = make_case(type(), 350, 6, 1024, 45, seed);
    const Routed routed = run(c, 16);
    const auto wanted = reference(c);
    std::vector<float> rounded(wanted.begin(), wanted.end());
    std::vector<ScoredDocument> best(16);
    select_top_documents(rounded, best);
    std::vector<int64_t> got;
    std::vector<int64_t> expected;
    for (int i = 0; i < 16; ++i) {
      got.push_back(routed.selected[i].document);
      expected.push_back(best[i].document);
    }
    if (type() != NumberType::kFloat32) {
      // Keys were rounded: neighbours nearer than that may change places, at the border too.
      const double border = wanted[expected.back()];
      for (const int64_t document : got) {
        EXPECT_GE(wanted[document], border - 1.5e-3) << "seed " << seed;
      }
      continue;
    }
    EXPECT_EQ(got, expected) << "seed " << seed;
  }
}

/// Plain double loops over the keys as they are stored.
std::vector<double> reference_of_stored_keys(const Case& c) {
  Case stored = c;
  const int64_t dim = c.params.key_dim;
  for (size_t i = 0; i < c.keys.size(); ++i) {
    if (c.params.key_type == NumberType::kBFloat16) {
      stored.keys[i] = to_float(reinterpret_cast<const BFloat16*>(c.stored.data())[i]);
    } else if (c.params.key_type == NumberType::kInt8) {
      stored.keys[i] = static_cast<float>(reinterpret_cast<const int8_t*>(c.stored.data())[i]) *
                       c.scale[i / static_cast<size_t>(dim)];
    }
  }
  return reference(stored);
}

TEST_P(RouteScores, RoundingTheQueriesChangesNoChoiceAndNoChosenScore) {
  for (uint32_t seed = 200; seed < 208; ++seed) {
    Case c = make_case(type(), 900, 4, 256, 33, seed);
    const Routed routed = run(c, 16);
    const auto wanted = reference_of_stored_keys(c);
    std::vector<double> sorted = wanted;
    std::sort(sorted.rbegin(), sorted.rend());
    for (size_t i = 0; i < routed.selected.size(); ++i) {
      const auto& chosen = routed.selected[i];
      EXPECT_NEAR(chosen.score, wanted[chosen.document], 1e-6) << "seed " << seed;
      EXPECT_NEAR(chosen.score, sorted[i], 1e-6) << "seed " << seed << " place " << i;
    }
  }
}

/// One document a key, so that a document is a chunk.
Case make_case_of(NumberType type, std::vector<float> keys, std::vector<float> query, int64_t dim) {
  const auto num_chunks = static_cast<int64_t>(keys.size()) / dim;
  Case c = make_case(type, 0, 0, dim, static_cast<int64_t>(query.size()) / dim, 1);
  for (int64_t n = 1; n <= num_chunks; ++n) c.first_chunk.push_back(n);
  c.keys = std::move(keys);
  c.query = std::move(query);
  store_keys(c, type, dim);
  c.params.key = c.stored.data();
  c.params.key_scale = c.scale.data();
  c.params.first_chunk = c.first_chunk.data();
  c.params.query = c.query.data();
  c.params.num_documents = num_chunks;
  return c;
}

void expect_best_of_stored_keys(Case& c, int64_t top_k) {
  const Routed routed = run(c, top_k);
  const auto wanted = reference_of_stored_keys(c);
  std::vector<double> sorted = wanted;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int64_t i = 0; i < top_k; ++i) {
    const auto& chosen = routed.selected[i];
    const double allowed = 5e-6 * std::max(std::abs(sorted[i]), std::abs(sorted[0]));
    EXPECT_NEAR(chosen.score, wanted[chosen.document], allowed) << "place " << i;
    EXPECT_NEAR(chosen.score, sorted[i], allowed) << "place " << i;
  }
}

TEST_P(RouteScores, AQueryOfTwoValuesRoundedApartFindsTheBetterKey) {
  const int64_t dim = 1024;
  // bfloat16 rounds the first value down by half a step and the second one up.
  std::vector<float> query(dim);
  query[0] = 1.00390625F;
  query[1] = 1.011725F;
  std::vector<float> keys(2 * dim);
  keys[0] = 1.0078125F;
  keys[dim + 1] = 1;
  Case c = make_case_of(type(), keys, query, dim);
  expect_best_of_stored_keys(c, 1);
  EXPECT_EQ(run(c, 1).selected[0].document, 0);
}

TEST_P(RouteScores, ALongKeyIsFoundWhereTheQueryRoundsToNothing) {
  const int64_t dim = 1024;
  // Steps of 1 in int8: the second value becomes zero. The key that looks best is a short one.
  std::vector<float> query(dim);
  query[0] = 127;
  query[1] = 0.49F;
  std::vector<float> keys(3 * dim);
  keys[0] = 0.48F / 127;
  keys[dim + 1] = 1;
  keys[2 * dim + 2] = 1;
  Case c = make_case_of(type(), keys, query, dim);
  expect_best_of_stored_keys(c, 1);
  EXPECT_EQ(run(c, 1).selected[0].document, 1);
}

TEST_P(RouteScores, OutlierDimensionsAndKeysOfAnyLengthChangeNoChoice) {
  for (uint32_t seed = 300; seed < 340; ++seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const int64_t dim = seed % 2 == 0 ? 1024 : 67;
    const int64_t num_chunks = 400;
    const int64_t num_tokens = 1 + seed % 5 * 13;
    const bool is_sparse = seed % 3 != 0;
    const float rest = is_sparse ? 0.0F : 0.02F;
    std::vector<float> query(num_tokens * dim);
    std::vector<float> keys(num_chunks * dim);
    for (float& value : query) value = normal(random) * rest;
    for (float& value : keys) value = normal(random) * rest;
    const auto outlier = [&] {  // the halves of bfloat16's steps, where rounding errs most
      return 1 + static_cast<float>(random() % 128 * 2 + 1) / 256 + normal(random) * 1e-5F;
    };
    for (int64_t t = 0; t < num_tokens; ++t) {
      for (int i = 0; i < 4; ++i) query[t * dim + random() % 6] = outlier();
    }
    for (int64_t n = 0; n < num_chunks; ++n) {
      for (int i = 0; i < 2; ++i) keys[n * dim + random() % 6] = outlier();
      double squares = 0;
      for (int64_t i = 0; i < dim; ++i) squares += std::pow(keys[n * dim + i], 2.0);
      // Unit keys with a few long and short ones.
      const float length = seed % 4 == 1 ? std::pow(2.0F, normal(random)) : 1;
      const auto factor = length / static_cast<float>(std::sqrt(squares));
      for (int64_t i = 0; i < dim; ++i) keys[n * dim + i] *= factor;
    }
    SCOPED_TRACE(seed);
    Case c = make_case_of(type(), keys, query, dim);
    expect_best_of_stored_keys(c, 16);
  }
}

TEST_P(RouteScores, KeysOfZerosAndQueriesOfZerosHaveScoreZero) {
  Case c = make_case_of(type(), std::vector<float>(9 * 40), random_floats(3 * 40, 4), 40);
  for (const auto& chosen : run(c, 4).selected) EXPECT_EQ(chosen.score, 0);
  Case d = make_case_of(type(), random_floats(9 * 40, 5), std::vector<float>(3 * 40), 40);
  for (const auto& chosen : run(d, 4).selected) EXPECT_EQ(chosen.score, 0);
}

TEST_P(RouteScores, EqualDocumentsAreChosenByLowerPlace) {
  const int64_t dim = 64;
  Case c = make_case(type(), 40, 3, dim, 9, 5);
  // Documents that share one key, the best of all: it points where a query points.
  std::vector<int64_t> equal;
  std::vector<float> key(c.query.begin(), c.query.begin() + dim);
  for (float& value : key) value *= 3;
  const int64_t row_bytes = dim * bytes_of(type());
  for (int64_t n = 0; n < 40; ++n) {
    if (n % 3 != 1 || c.first_chunk[n] == c.first_chunk[n + 1]) continue;
    const int64_t chunk = c.first_chunk[n + 1] - 1;
    quantize_rows({.row = key.data(),
                   .num_rows = 1,
                   .dim = dim,
                   .type = type(),
                   .out = c.stored.data() + chunk * row_bytes,
                   .scale = c.scale.data() + chunk});
    equal.push_back(n);
  }
  ASSERT_GE(equal.size(), 6U);
  const Routed routed = run(c, 4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(routed.selected[i].document, equal[i]);
    EXPECT_EQ(routed.selected[i].score, routed.selected[0].score);
  }
}

TEST_P(RouteScores, ChoosingAllDocumentsSortsThemWithTheEmptyOnesLast) {
  Case c = make_case(type(), 40, 2, 64, 9, 6);
  const Routed routed = run(c, 40);
  std::vector<bool> is_seen(40);
  for (size_t i = 0; i < routed.selected.size(); ++i) {
    const auto& here = routed.selected[i];
    EXPECT_FALSE(is_seen[here.document]);
    is_seen[here.document] = true;
    const bool is_empty = c.first_chunk[here.document] == c.first_chunk[here.document + 1];
    EXPECT_EQ(std::isinf(here.score), is_empty);
    if (i == 0) continue;
    const auto& before = routed.selected[i - 1];
    EXPECT_TRUE(before.score > here.score ||
                (before.score == here.score && before.document < here.document));
  }
}

TEST_P(RouteScores, LongKeysAndShortKeysKeepTheirOwnScale) {
  Case c = make_case(type(), 60, 3, 96, 7, 7);
  for (size_t i = 0; i < c.keys.size(); ++i) {
    c.keys[i] *= std::pow(10.0F, static_cast<float>(i / 96 % 7) - 3);
  }
  store_keys(c, type(), 96);
  const Routed routed = run(c, 10);
  const auto wanted = reference_of_stored_keys(c);
  for (const auto& chosen : routed.selected) {
    EXPECT_NEAR(chosen.score, wanted[chosen.document], 2e-6 * std::abs(wanted[chosen.document]));
  }
}

TEST_P(RouteScores, RepeatedRunsGiveEqualBitsOnAnyNumberOfThreads) {
  Case c = make_case(type(), 300, 6, 128, 40, 9);
  const int threads = num_threads();
  const Routed first = run(c, 16);
  for (int i = 0; i < 6; ++i) {
    set_num_threads(1 + i % 3);
    const Routed again = run(c, 16);
    EXPECT_EQ(first.scores, again.scores) << 1 + i % 3 << " threads";
    for (size_t k = 0; k < 16; ++k) {
      EXPECT_EQ(first.selected[k].document, again.selected[k].document);
    }
  }
  set_num_threads(threads);
}

std::string name_of_case(const testing::TestParamInfo<std::tuple<NumberType, Way>>& info) {
  return std::string(name_of(std::get<0>(info.param))) + "_" + std::get<1>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(
    Types, RouteScores,
    testing::Combine(testing::Values(NumberType::kFloat32, NumberType::kBFloat16,
                                     NumberType::kInt8),
                     testing::Values(Way{"native", false, VectorLevel::kAvx512},
                                     Way{"avx512", true, VectorLevel::kAvx512},
                                     Way{"avx2", true, VectorLevel::kAvx2},
                                     Way{"baseline", true, VectorLevel::kBaseline})),
    name_of_case);

TEST(RouteScoresOfNothing, AnEmptyMemoryChoosesNothing) {
  Case c = make_case(NumberType::kFloat32, 0, 0, 16, 3, 1);
  EXPECT_TRUE(run(c, 0).selected.empty());
}

TEST(SelectTopDocuments, MatchesASortForRandomScoresWithTies) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> scores(random() % 60 + 1);
    for (float& score : scores) score = static_cast<float>(random() % 8);
    std::vector<int64_t> order(scores.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    std::vector<ScoredDocument> selected(random() % (scores.size() + 1));
    select_top_documents(scores, selected);
    for (size_t i = 0; i < selected.size(); ++i) EXPECT_EQ(selected[i].document, order[i]);
  }
}

}  // namespace
}  // namespace msa::kernels
