#pragma once
// A memory, questions to it, and what routing must choose: for tests of route_batch.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_batch.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

struct RouteShape {
  int64_t num_documents;
  int most_chunks;  // of a document; some have none
  int64_t key_dim;
  std::vector<int64_t> question_tokens;
  int64_t top_k = 16;
};

/// How the keys of a memory are stored, and what is scanned.
struct RouteKeys {
  NumberType type;
  bool is_packed = false;

  std::string name() const { return (is_packed ? "int4_" : "") + std::string(name_of(type)); }
};

/// A memory and questions on the host, with plain double loops over the keys as they are stored.
class RouteCase {
 public:
  RouteCase(const RouteKeys& stored_keys, RouteShape shape, uint32_t seed)
      : type_(stored_keys.type), is_packed_(stored_keys.is_packed), shape_(std::move(shape)) {
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
    RouteBatchParams params{.key_type = type_,
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
    const auto packed = device_array<std::byte>(packed_key_bytes(num_chunks(), dim()));
    const auto packed_scale = device_array<float>(num_chunks());
    if (is_packed_) {
      const auto longest = to_device(std::vector<float>(1));
      pack_keys_cuda({.key_type = type_,
                      .key = device_stored.get(),
                      .key_scale = device_scale.get(),
                      .num_chunks = num_chunks(),
                      .key_dim = dim(),
                      .value = packed.get(),
                      .scale = packed_scale.get(),
                      .longest = longest.get()},
                     nullptr);
      params.packed = {packed.get(), packed_scale.get(), to_host(longest, 1)[0]};
    }
    const auto sums = to_device(std::vector<float>(num_questions * shape_.num_documents, 1));
    params.score_sum = sums.get();
    params.score_share = kScoreShare;
    const auto num_rescored = to_device(std::vector<int32_t>(num_questions, -1));
    params.num_rescored = num_rescored.get();
    constexpr size_t kGuard = 256;
    const auto bytes = static_cast<size_t>(route_batch_workspace_bytes(params));
    const auto workspace = to_device(std::vector<std::byte>(bytes + kGuard, std::byte{0x5a}));
    route_batch_cuda(params, workspace.get(), nullptr);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto after = to_host(workspace, bytes + kGuard);
    for (size_t i = bytes; i < after.size(); ++i) {
      EXPECT_EQ(after[i], std::byte{0x5a}) << "wrote past the workspace";
    }
    rescored = to_host(num_rescored, num_questions);
    score_sum = to_host(sums, num_questions * shape_.num_documents);
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
  static constexpr float kScoreShare = 0.25F;
  mutable std::vector<int32_t> rescored;  // [B], of the last run
  mutable std::vector<float> score_sum;   // [B, N], of the last run: 1 + kScoreShare * scores

 private:
  NumberType type_;
  bool is_packed_;
  RouteShape shape_;
};

}  // namespace msa::kernels
