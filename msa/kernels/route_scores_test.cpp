#include "msa/kernels/route_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_tile.h"
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
  const int64_t num_chunks = c.first_chunk.back();
  c.keys.resize(num_chunks * dim);
  c.query.resize(num_tokens * dim);
  const float unit = 1.0F / std::sqrt(static_cast<float>(dim));
  for (float& value : c.keys) value = normal(random) * unit;
  for (float& value : c.query) value = normal(random) * unit;
  c.stored.resize(num_chunks * dim * bytes_of(type));
  c.scale.resize(num_chunks);
  quantize_rows({.row = c.keys.data(),
                 .num_rows = num_chunks,
                 .dim = dim,
                 .type = type,
                 .out = c.stored.data(),
                 .scale = c.scale.data()});
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

class RouteScores : public testing::TestWithParam<std::tuple<NumberType, bool>> {
 protected:
  void SetUp() override { set_wide_routing_only(std::get<1>(GetParam())); }
  void TearDown() override { set_wide_routing_only(false); }
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
  for (uint32_t seed = 100; seed < 112; ++seed) {
    Case c = make_case(type(), 700, 6, 1024, 45, seed);
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

TEST_P(RouteScores, ScoresFallAndTiesGoToTheLowerPlace) {
  Case c = make_case(type(), 40, 3, 64, 9, 5);
  // Documents 10 .. 19 get the key of document 5's first chunk.
  const Routed routed = run(c, 40);
  for (size_t i = 1; i < routed.selected.size(); ++i) {
    const auto& before = routed.selected[i - 1];
    const auto& here = routed.selected[i];
    EXPECT_TRUE(before.score > here.score ||
                (before.score == here.score && before.document < here.document));
  }
}

TEST_P(RouteScores, RepeatedRunsGiveEqualBits) {
  Case c = make_case(type(), 300, 6, 128, 40, 9);
  const Routed first = run(c, 16);
  for (int i = 0; i < 5; ++i) {
    const Routed again = run(c, 16);
    EXPECT_EQ(first.scores, again.scores);
  }
}

std::string name_of_case(const testing::TestParamInfo<std::tuple<NumberType, bool>>& info) {
  return std::string(name_of(std::get<0>(info.param))) +
         (std::get<1>(info.param) ? "_wide" : "_native");
}

INSTANTIATE_TEST_SUITE_P(Types, RouteScores,
                         testing::Combine(testing::Values(NumberType::kFloat32,
                                                          NumberType::kBFloat16, NumberType::kInt8),
                                          testing::Bool()),
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
