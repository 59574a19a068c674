#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_batch.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

struct Shape {
  int64_t num_documents;
  int most_chunks;  // of a document; some have none
  int64_t key_dim;
  std::vector<int64_t> question_tokens;
  int64_t top_k = 16;
};

/// A memory and questions on the host, with plain double loops over the keys as they are stored.
class Case {
 public:
  Case(NumberType type, Shape shape, uint32_t seed) : type_(type), shape_(std::move(shape)) {
    std::mt19937 random(seed);
    for (int64_t n = 0; n < shape_.num_documents; ++n) {
      const auto count = static_cast<int64_t>(random() % (shape_.most_chunks + 1));
      first_chunk.push_back(first_chunk.back() + count);
      document_of_chunk.insert(document_of_chunk.end(), count, static_cast<int32_t>(n));
    }
    if (first_chunk.back() == 0) {
      first_chunk.back() = 1;
      document_of_chunk.push_back(static_cast<int32_t>(shape_.num_documents - 1));
    }
    keys = random_floats(num_chunks() * dim(), seed + 1, 1 / std::sqrt(static_cast<float>(dim())));
    for (const int64_t count : shape_.question_tokens) {
      first_token.push_back(first_token.back() + count);
    }
    query = random_floats(first_token.back() * dim(), seed + 2);
    store();
  }

  /// Rounds `keys` anew.
  void store() {
    stored.resize(num_chunks() * dim() * bytes_of(type_));
    scale.resize(num_chunks(), 1);
    quantize_rows({.row = keys.data(),
                   .num_rows = num_chunks(),
                   .dim = dim(),
                   .type = type_,
                   .out = stored.data(),
                   .scale = scale.data()});
  }

  double stored_value(int64_t i) const {
    if (type_ == NumberType::kBFloat16) {
      return to_float(reinterpret_cast<const BFloat16*>(stored.data())[i]);
    }
    return static_cast<double>(reinterpret_cast<const int8_t*>(stored.data())[i]) *
           scale[i / dim()];
  }

  std::vector<double> reference(int64_t question) const {
    std::vector<double> scores(shape_.num_documents, kLowest);
    std::vector<double> key(dim());
    for (int64_t c = 0; c < num_chunks(); ++c) {
      for (int64_t i = 0; i < dim(); ++i) key[i] = stored_value(c * dim() + i);
      double& best = scores[document_of_chunk[c]];
      for (int64_t t = first_token[question]; t < first_token[question + 1]; ++t) {
        double dot = 0;
        for (int64_t i = 0; i < dim(); ++i) dot += key[i] * query[t * dim() + i];
        best = std::max(best, dot);
      }
    }
    for (int64_t n = 0; n < shape_.num_documents; ++n) {
      if (is_hidden(question, n)) scores[n] = kLowest;
    }
    return scores;
  }

  bool is_hidden(int64_t question, int64_t document) const {
    return !hidden.empty() &&
           (hidden[question * mask_words() + document / 32] >> (document % 32) & 1U) != 0;
  }

  float longest_key() const {
    double longest = 0;
    for (int64_t c = 0; c < num_chunks(); ++c) {
      double squares = 0;
      for (int64_t i = 0; i < dim(); ++i) squares += std::pow(stored_value(c * dim() + i), 2);
      longest = std::max(longest, std::sqrt(squares));
    }
    return static_cast<float>(longest * 1.000001);
  }

  /// [B][top_k]
  std::vector<ScoredDocument> run() const {
    const auto device_stored = to_device(stored);
    const auto device_scale = to_device(scale);
    const auto device_documents = to_device(document_of_chunk);
    const auto device_first_chunk = to_device(first_chunk);
    const auto device_query = to_device(query);
    const auto device_hidden = to_device(hidden);
    const auto num_questions = static_cast<int64_t>(shape_.question_tokens.size());
    const auto count = static_cast<size_t>(num_questions * shape_.top_k);
    const auto selected = to_device(std::vector<ScoredDocument>(count, {-2, 7}));
    const RouteBatchParams params{.key_type = type_,
                                  .key = device_stored.get(),
                                  .key_scale = device_scale.get(),
                                  .document_of_chunk = device_documents.get(),
                                  .first_chunk = device_first_chunk.get(),
                                  .longest_key = longest_key(),
                                  .query = device_query.get(),
                                  .first_token = first_token.data(),
                                  .hidden = hidden.empty() ? nullptr : device_hidden.get(),
                                  .num_questions = num_questions,
                                  .num_documents = shape_.num_documents,
                                  .num_chunks = num_chunks(),
                                  .key_dim = dim(),
                                  .top_k = shape_.top_k,
                                  .selected = selected.get()};
    constexpr size_t kGuard = 256;
    const auto bytes = static_cast<size_t>(route_batch_workspace_bytes(params));
    const auto workspace = to_device(std::vector<std::byte>(bytes + kGuard, std::byte{0x5a}));
    route_batch_cuda(params, workspace.get(), nullptr);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto after = to_host(workspace, bytes + kGuard);
    for (size_t i = bytes; i < after.size(); ++i) {
      EXPECT_EQ(after[i], std::byte{0x5a}) << "wrote past the workspace";
    }
    return to_host(selected, count);
  }

  /// Every choice is a best one, in order, with its score in float32.
  void expect_chosen_as_in_double() const {
    const auto got = run();
    for (size_t b = 0; b < shape_.question_tokens.size(); ++b) {
      const auto wanted = reference(static_cast<int64_t>(b));
      std::vector<double> sorted = wanted;
      std::sort(sorted.rbegin(), sorted.rend());
      for (int64_t i = 0; i < shape_.top_k; ++i) {
        const ScoredDocument& chosen = got[b * shape_.top_k + i];
        if (sorted[i] == kLowest) {
          EXPECT_EQ(chosen.document, -1) << "question " << b << " place " << i;
          EXPECT_EQ(chosen.score, kLowest);
          continue;
        }
        ASSERT_GE(chosen.document, 0) << "question " << b << " place " << i;
        ASSERT_LT(chosen.document, shape_.num_documents);
        const double near = 2e-6 * (1 + std::abs(sorted[i]));
        EXPECT_NEAR(chosen.score, wanted[chosen.document], near) << "question " << b;
        EXPECT_NEAR(chosen.score, sorted[i], near) << "question " << b << " place " << i;
      }
    }
  }

  int64_t num_chunks() const { return first_chunk.back(); }
  int64_t dim() const { return shape_.key_dim; }
  int64_t mask_words() const { return (shape_.num_documents + 31) / 32; }

  std::vector<int64_t> first_chunk{0};
  std::vector<int32_t> document_of_chunk;
  std::vector<int64_t> first_token{0};
  std::vector<float> keys;
  std::vector<float> query;
  std::vector<std::byte> stored;
  std::vector<float> scale;
  std::vector<uint32_t> hidden;

 private:
  NumberType type_;
  Shape shape_;
};

class RouteBatchCuda : public testing::TestWithParam<NumberType> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
  }
};

TEST_P(RouteBatchCuda, ChoosesAsInDoublePrecisionForAllShapes) {
  uint32_t seed = 1;
  for (const int64_t dim : {16, 32, 48, 64, 80, 128, 256, 1024}) {
    for (const int64_t tokens : {1, 7, 8, 9, 16, 33, 48, 64, 100, 300}) {
      SCOPED_TRACE(testing::Message() << "dim " << dim << " tokens " << tokens << " seed " << seed);
      Case(GetParam(), {300, 5, dim, {tokens}}, seed++).expect_chosen_as_in_double();
    }
  }
}

TEST_P(RouteBatchCuda, ChoosesAsInDoublePrecisionInALargeMemory) {
  for (uint32_t seed = 500; seed < 503; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Case(GetParam(), {20'000, 3, 256, {40}, 64}, seed).expect_chosen_as_in_double();
  }
}

TEST_P(RouteBatchCuda, QuestionsOfOneBatchDoNotTouchEachOther) {
  Case together(GetParam(), {900, 4, 128, {1, 40, 8, 13, 64, 5, 100, 2}}, 31);
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
      Case many(GetParam(), {200, 30, dim, tokens}, seed++);
      many.expect_chosen_as_in_double();
      many.hidden.resize(tokens.size() * many.mask_words());
      std::mt19937 random(seed);
      for (uint32_t& word : many.hidden) word = static_cast<uint32_t>(random());
      many.expect_chosen_as_in_double();
    }
  }
}

TEST_P(RouteBatchCuda, FewDocumentsAndHiddenOnesLeavePlacesEmpty) {
  Case few(GetParam(), {20, 1, 64, {12, 3}}, 41);
  few.expect_chosen_as_in_double();
  few.hidden = {0xfffffffeU, 0xffffffffU};
  few.expect_chosen_as_in_double();
  Case(GetParam(), {1, 1, 64, {5}, 1}, 42).expect_chosen_as_in_double();
}

TEST_P(RouteBatchCuda, EqualDocumentsAreChosenByLowerPlace) {
  Case c(GetParam(), {40, 3, 64, {9}, 4}, 5);
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
  Case c(GetParam(), {kDocuments, 1, 64, {3, 5}, kTopK}, 51);
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
  Case c(GetParam(), {50, 2, 64, {1}, 1}, 6);
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

TEST_P(RouteBatchCuda, RepeatedRunsGiveEqualBits) {
  const Case c(GetParam(), {3000, 4, 256, {40, 17}}, 9);
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
  const RouteBatchParams good{.key_type = GetParam(),
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
}

INSTANTIATE_TEST_SUITE_P(Types, RouteBatchCuda,
                         testing::Values(NumberType::kBFloat16, NumberType::kInt8),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace msa::kernels
