#include "msa/memory/routing_index.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/top_documents.h"
#include "msa/memory/fold_queries.h"

namespace msa::memory {
namespace {

constexpr int64_t kDocumentsInRun = 64;  // one after the other on one thread

}  // namespace

RoutingIndex::RoutingIndex(const MemoryShape& shape, kernels::NumberType key_type)
    : shape_(shape), key_type_(key_type), layers_(shape.num_layers) {}

void RoutingIndex::reserve(std::span<const int64_t> num_chunks) {
  for (const int64_t count : num_chunks) first_chunk_.push_back(first_chunk_.back() + count);
  for (Layer& layer : layers_) {
    layer.keys = AlignedBuffer(first_chunk_.back() * shape_.key_dim() * bytes_of(key_type_));
    if (key_type_ == kernels::NumberType::kInt8) layer.scales.resize(first_chunk_.back());
  }
}

void RoutingIndex::set_rows(int64_t layer, int64_t first_row, std::span<const float> keys) {
  const int64_t num_rows = static_cast<int64_t>(keys.size()) / shape_.key_dim();
  kernels::quantize_rows({.row = keys.data(),
                          .num_rows = num_rows,
                          .dim = shape_.key_dim(),
                          .type = key_type_,
                          .out = rows(layer, first_row, num_rows).data(),
                          .scale = scales(layer, first_row, num_rows).data()});
}

std::span<std::byte> RoutingIndex::rows(int64_t layer, int64_t first_row, int64_t num_rows) {
  const int64_t row_bytes = shape_.key_dim() * bytes_of(key_type_);
  return {layers_[layer].keys.data() + first_row * row_bytes,
          static_cast<size_t>(num_rows * row_bytes)};
}

std::span<float> RoutingIndex::scales(int64_t layer, int64_t first_row, int64_t num_rows) {
  if (key_type_ != kernels::NumberType::kInt8) return {};
  return std::span(layers_[layer].scales).subspan(first_row, num_rows);
}

std::span<const std::byte> RoutingIndex::rows(int64_t layer, int64_t first_row,
                                              int64_t num_rows) const {
  return const_cast<RoutingIndex*>(this)->rows(layer, first_row, num_rows);
}

std::span<const float> RoutingIndex::scales(int64_t layer, int64_t first_row,
                                            int64_t num_rows) const {
  return const_cast<RoutingIndex*>(this)->scales(layer, first_row, num_rows);
}

std::vector<kernels::ScoredDocument> RoutingIndex::route(int64_t layer, const RoutingQuery& query,
                                                         int64_t top_k,
                                                         std::span<float> document_scores) const {
  MSA_CHECK(layer >= 0 && layer < shape_.num_layers, "route: there is no router layer ", layer);
  MSA_CHECK(top_k >= 0, "route: top_k must not be negative, got ", top_k);
  MSA_CHECK(
      query.num_tokens > 0 && query.num_heads > 0 && query.num_heads % shape_.num_kv_heads == 0,
      "route: ", query.num_heads, " heads of ", query.num_tokens, " tokens do not fit ",
      shape_.num_kv_heads, " kv heads");
  MSA_CHECK(
      document_scores.empty() || static_cast<int64_t>(document_scores.size()) == num_documents(),
      "route: room for ", document_scores.size(), " scores of ", num_documents(), " documents");
  std::vector<kernels::ScoredDocument> selected(std::min(top_k, num_documents()));
  if (!query.rule.is_folded()) {
    std::vector<float> scores(num_documents());
    score_general(layers_[layer], query, scores);
    kernels::select_top_documents(scores, selected);
    std::copy_n(scores.begin(), document_scores.size(), document_scores.begin());
    return selected;
  }
  kernels::RouteScoresParams params{
      .key_type = key_type_,
      .key = layers_[layer].keys.data(),
      .key_scale = layers_[layer].scales.data(),
      .first_chunk = first_chunk_.data(),
      .num_documents = num_documents(),
      .key_dim = shape_.key_dim(),
      .top_k = static_cast<int64_t>(selected.size()),
      .selected = selected.data(),
      .document_scores = document_scores.empty() ? nullptr : document_scores.data()};
  const std::vector<float> folded = fold_queries(query, shape_);
  params.num_tokens = static_cast<int64_t>(folded.size()) / shape_.key_dim();
  params.query = folded.data();
  AlignedBuffer scratch = take_scratch(kernels::route_scores_workspace_bytes(params));
  kernels::route_scores_cpu(params, scratch.data());
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(scratch));
  return selected;
}

/// The scores of millions of chunks: the system would clear new memory for them in every layer.
AlignedBuffer RoutingIndex::take_scratch(int64_t num_bytes) const {
  {
    const std::lock_guard lock(mutex_);
    while (!idle_.empty()) {
      AlignedBuffer held = std::move(idle_.back());
      idle_.pop_back();
      if (held.size() >= num_bytes) return held;
    }
  }
  return AlignedBuffer(num_bytes + num_bytes / 8);  // the next question may be longer
}

/// One chunk's key as float32 [F].
void RoutingIndex::read_key(const Layer& layer, int64_t chunk, std::span<float> key) const {
  const int64_t first = chunk * shape_.key_dim();
  switch (key_type_) {
    case kernels::NumberType::kFloat32:
      std::copy_n(reinterpret_cast<const float*>(layer.keys.data()) + first, key.size(),
                  key.begin());
      break;
    case kernels::NumberType::kBFloat16:
      std::transform(reinterpret_cast<const BFloat16*>(layer.keys.data()) + first,
                     reinterpret_cast<const BFloat16*>(layer.keys.data()) + first + key.size(),
                     key.begin(), to_float);
      break;
    case kernels::NumberType::kInt8:
      std::transform(reinterpret_cast<const int8_t*>(layer.keys.data()) + first,
                     reinterpret_cast<const int8_t*>(layer.keys.data()) + first + key.size(),
                     key.begin(), [scale = layer.scales[chunk]](int8_t value) {
                       return scale * static_cast<float>(value);
                     });
      break;
  }
}

/// The score of one chunk: over heads, then over tokens.
double RoutingIndex::score_chunk(const RoutingQuery& query, std::span<const float> key) const {
  const int64_t group = query.num_heads / shape_.num_kv_heads;
  const int64_t first = query.rule.query == QueryReduce::kLast ? query.num_tokens - 1 : 0;
  double best = -std::numeric_limits<double>::infinity();
  double total = 0;
  for (int64_t t = first; t < query.num_tokens; ++t) {
    double best_head = -std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int64_t h = 0; h < query.num_heads; ++h) {
      const float* q = query.values + (t * query.num_heads + h) * shape_.head_dim;
      const float* k = key.data() + h / group * shape_.head_dim;
      double dot = 0;
      for (int64_t d = 0; d < shape_.head_dim; ++d) dot += static_cast<double>(q[d]) * k[d];
      best_head = std::max(best_head, dot);
      sum += dot;
    }
    const double score = query.rule.head == HeadReduce::kMax
                             ? best_head
                             : sum / static_cast<double>(query.num_heads);
    best = std::max(best, score);
    total += score;
  }
  const bool is_mean = query.rule.query == QueryReduce::kMean;
  return query.rule.scale * (is_mean ? total / static_cast<double>(query.num_tokens) : best);
}

/// The rules that do not fold: a maximum over heads, or a mean over chunks. One chunk at a time.
void RoutingIndex::score_general(const Layer& layer, const RoutingQuery& query,
                                 std::span<float> scores) const {
  const int64_t num_runs = (num_documents() + kDocumentsInRun - 1) / kDocumentsInRun;
  parallel_for(num_runs, [&](int64_t run) {
    std::vector<float> key(shape_.key_dim());
    const int64_t end = std::min((run + 1) * kDocumentsInRun, num_documents());
    for (int64_t n = run * kDocumentsInRun; n < end; ++n) {
      double highest = -std::numeric_limits<double>::infinity();
      double sum = 0;
      for (int64_t c = first_chunk_[n]; c < first_chunk_[n + 1]; ++c) {
        read_key(layer, c, key);
        const double score = score_chunk(query, key);
        highest = std::max(highest, score);
        sum += score;
      }
      const bool is_mean = query.rule.chunk == ChunkReduce::kMean && num_chunks(n) > 0;
      scores[n] = static_cast<float>(is_mean ? sum / static_cast<double>(num_chunks(n)) : highest);
    }
  });
}

}  // namespace msa::memory
