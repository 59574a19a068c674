#include "msa/memory/routing_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"

namespace msa::memory {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double reduce(std::vector<double> values, const std::string& how) {
  if (how == "max") return *std::max_element(values.begin(), values.end());
  if (how == "last") return values.back();
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// One document's score, exactly in the order that the rule says: heads, tokens, chunks.
double document_score(const std::vector<double>& keys, int64_t first_chunk, int64_t num_chunks,
                      const RoutingQuery& query, const MemoryShape& shape) {
  const RoutingRule& rule = query.rule;
  const int64_t group = query.num_heads / shape.num_kv_heads;
  std::vector<double> chunks;
  for (int64_t c = first_chunk; c < first_chunk + num_chunks; ++c) {
    std::vector<double> tokens;
    for (int64_t t = 0; t < query.num_tokens; ++t) {
      std::vector<double> heads;
      for (int64_t h = 0; h < query.num_heads; ++h) {
        double dot = 0;
        for (int64_t d = 0; d < shape.head_dim; ++d) {
          dot += query.values[(t * query.num_heads + h) * shape.head_dim + d] *
                 keys[c * shape.key_dim() + h / group * shape.head_dim + d];
        }
        heads.push_back(dot);
      }
      tokens.push_back(reduce(heads, rule.head == HeadReduce::kMax ? "max" : "mean"));
    }
    chunks.push_back(rule.scale * reduce(tokens, rule.query == QueryReduce::kMax    ? "max"
                                                 : rule.query == QueryReduce::kLast ? "last"
                                                                                    : "mean"));
  }
  if (chunks.empty()) return -kInfinity;
  return reduce(chunks, rule.chunk == ChunkReduce::kMax ? "max" : "mean");
}

struct Case {
  MemoryShape shape;
  std::vector<int64_t> num_chunks;
  std::vector<float> keys;   // [C, F], as they can be stored
  std::vector<float> query;  // [T, H, D]
  int64_t num_tokens = 0;
  int64_t num_heads = 0;
};

Case make_case(std::mt19937& random, kernels::NumberType type) {
  const auto up_to = [&](uint32_t most) { return 1 + static_cast<int64_t>(random() % most); };
  Case made;
  made.shape = {
      .num_layers = 1, .num_kv_heads = up_to(3), .head_dim = up_to(40), .chunk_tokens = 4};
  made.num_heads = made.shape.num_kv_heads * up_to(3);
  made.num_tokens = up_to(9);
  const int64_t documents = up_to(150);
  int64_t total = 0;
  for (int64_t n = 0; n < documents; ++n) {
    made.num_chunks.push_back(static_cast<int64_t>(random() % 5));  // some have none
    total += made.num_chunks.back();
  }
  const auto fill = [&](std::vector<float>& values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      values.push_back(static_cast<float>(random()) * 0x1p-31F - 1.0F);
    }
  };
  fill(made.keys, total * made.shape.key_dim());
  fill(made.query, made.num_tokens * made.num_heads * made.shape.head_dim);
  // Rounded before, so that what is stored is exactly what the reference uses.
  if (type == kernels::NumberType::kBFloat16) {
    for (float& key : made.keys) key = to_float(to_bfloat16(key));
  }
  if (type == kernels::NumberType::kInt8) {
    for (int64_t c = 0; c < total; ++c) {
      float* row = made.keys.data() + c * made.shape.key_dim();
      for (int64_t i = 0; i < made.shape.key_dim(); ++i) row[i] = std::round(row[i] * 100);
      row[0] = 127;  // so that the scale is 1
    }
  }
  return made;
}

TEST(RoutingIndex, EveryRuleGivesTheScoresOfThePlainDefinition) {
  for (const auto type : {kernels::NumberType::kFloat32, kernels::NumberType::kBFloat16,
                          kernels::NumberType::kInt8}) {
    for (uint32_t seed = 0; seed < 12; ++seed) {
      std::mt19937 random(seed);
      const Case made = make_case(random, type);
      RoutingIndex index(made.shape, type);
      index.reserve(made.num_chunks);
      index.set_rows(0, 0, made.keys);
      const std::vector<double> keys(made.keys.begin(), made.keys.end());
      for (const auto head : {HeadReduce::kMean, HeadReduce::kMax}) {
        for (const auto query : {QueryReduce::kMax, QueryReduce::kMean, QueryReduce::kLast}) {
          for (const auto chunk : {ChunkReduce::kMax, ChunkReduce::kMean}) {
            const RoutingQuery asked{
                .values = made.query.data(),
                .num_tokens = made.num_tokens,
                .num_heads = made.num_heads,
                .rule = {.head = head, .query = query, .chunk = chunk, .scale = 0.5F}};
            const int64_t documents = index.num_documents();
            const int64_t top_k = static_cast<int64_t>(random() % 20);
            std::vector<float> scores(static_cast<size_t>(documents));
            const auto chosen = index.route(0, asked, top_k, scores);
            // A fold that scans rounded keys may round the query for documents out of reach.
            const double length = std::sqrt(static_cast<double>(made.shape.key_dim()));
            const double unit = type == kernels::NumberType::kInt8 ? 127.0 : 1.0;
            const double fine = 3e-6 * unit * length;
            const bool is_rough = asked.rule.is_folded() && type != kernels::NumberType::kFloat32;
            const double rough = is_rough ? unit * length / 64 : fine;
            std::vector<double> wanted(static_cast<size_t>(documents));
            for (int64_t n = 0; n < documents; ++n) {
              wanted[n] = document_score(keys, index.first_chunk(n), index.num_chunks(n), asked,
                                         made.shape);
              if (std::isinf(wanted[n])) {
                ASSERT_EQ(scores[n], -kInfinity) << "document " << n << " seed " << seed;
              } else {
                ASSERT_NEAR(scores[n], wanted[n], rough) << "document " << n << " seed " << seed;
              }
            }
            // The chosen: exact scores, best first, and nobody left out was better.
            ASSERT_EQ(static_cast<int64_t>(chosen.size()), std::min(top_k, documents));
            std::vector<bool> is_chosen(static_cast<size_t>(documents));
            for (size_t i = 0; i < chosen.size(); ++i) {
              const int64_t n = chosen[i].document;
              ASSERT_EQ(chosen[i].score, scores[n]) << "place " << i << " seed " << seed;
              if (!std::isinf(wanted[n])) {
                ASSERT_NEAR(chosen[i].score, wanted[n], fine) << "place " << i << " seed " << seed;
              }
              ASSERT_FALSE(is_chosen[n]) << "place " << i << " seed " << seed;
              is_chosen[n] = true;
              if (i == 0) continue;
              ASSERT_TRUE(chosen[i - 1].score > chosen[i].score ||
                          (chosen[i - 1].score == chosen[i].score &&
                           chosen[i - 1].document < chosen[i].document))
                  << "place " << i << " seed " << seed;
            }
            for (int64_t n = 0; n < documents && !chosen.empty(); ++n) {
              if (is_chosen[n] || std::isinf(wanted[n])) continue;
              ASSERT_LE(wanted[n], chosen.back().score + 2 * fine)
                  << "document " << n << " seed " << seed;
            }
          }
        }
      }
    }
  }
}

TEST(RoutingIndex, ManyThreadsRouteShortAndLongQuestionsAsEachAlone) {
  for (const auto type : {kernels::NumberType::kFloat32, kernels::NumberType::kInt8}) {
    std::mt19937 random(5);
    Case made = make_case(random, type);
    made.num_tokens = 60;
    made.query.clear();
    for (int64_t i = 0; i < made.num_tokens * made.num_heads * made.shape.head_dim; ++i) {
      made.query.push_back(static_cast<float>(random()) * 0x1p-31F - 1.0F);
    }
    const auto route = [&](const RoutingIndex& index, int64_t num_tokens) {
      std::vector<float> scores(static_cast<size_t>(index.num_documents()));
      const auto chosen = index.route(0,
                                      {.values = made.query.data(),
                                       .num_tokens = num_tokens,
                                       .num_heads = made.num_heads,
                                       .rule = {}},
                                      5, scores);
      for (const auto& choice : chosen) scores.push_back(choice.score);
      return scores;
    };
    const auto fresh = [&] {
      auto index = std::make_unique<RoutingIndex>(made.shape, type);
      index->reserve(made.num_chunks);
      index->set_rows(0, 0, made.keys);
      return index;
    };
    std::vector<std::vector<float>> wanted(static_cast<size_t>(made.num_tokens) + 1);
    for (int64_t tokens = 1; tokens <= made.num_tokens; ++tokens) {
      wanted[tokens] = route(*fresh(), tokens);
    }
    const auto shared = fresh();
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (uint32_t seed = 0; seed < 4; ++seed) {
      threads.emplace_back([&, seed] {
        std::mt19937 own(seed);
        for (int i = 0; i < 30; ++i) {
          const int64_t tokens = 1 + static_cast<int64_t>(own() % made.num_tokens);
          wrong += route(*shared, tokens) != wanted[tokens];
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
  }
}

TEST(RoutingIndex, RefusesAQueryThatDoesNotFit) {
  const MemoryShape shape{.num_layers = 2, .num_kv_heads = 2, .head_dim = 4, .chunk_tokens = 4};
  RoutingIndex index(shape, kernels::NumberType::kFloat32);
  const std::vector<int64_t> counts{1, 1};
  index.reserve(counts);
  const std::vector<float> rows(2 * 8, 1.0F);
  index.set_rows(0, 0, rows);
  index.set_rows(1, 0, rows);
  const std::vector<float> values(3 * 8, 1.0F);
  const auto route = [&](int64_t layer, int64_t tokens, int64_t heads, int64_t top_k, size_t room) {
    std::vector<float> scores(room);
    return index.route(
        layer, {.values = values.data(), .num_tokens = tokens, .num_heads = heads, .rule = {}},
        top_k, scores);
  };
  EXPECT_EQ(route(1, 1, 2, 9, 2).size(), 2U);
  EXPECT_EQ(route(0, 1, 2, 0, 0).size(), 0U);
  EXPECT_THROW(route(2, 1, 2, 1, 0), Error);
  EXPECT_THROW(route(-1, 1, 2, 1, 0), Error);
  EXPECT_THROW(route(0, 0, 2, 1, 0), Error);
  EXPECT_THROW(route(0, 1, 3, 1, 0), Error);
  EXPECT_THROW(route(0, 1, 0, 1, 0), Error);
  EXPECT_THROW(route(0, 1, 2, -1, 0), Error);
  EXPECT_THROW(route(0, 1, 2, 1, 3), Error);
}

}  // namespace
}  // namespace msa::memory
