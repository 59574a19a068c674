#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <span>

#include "msa/base/threads.h"
#include "msa/kernels/cpu_features.h"
#include "msa/kernels/route_scores.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/top_documents.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr int64_t kAlignment = 64;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

std::atomic<bool> wide_only{false};

const RoutePath& path_for(NumberType type) {
  const RoutePath* path = nullptr;
  if (!wide_only.load(std::memory_order_relaxed) && vector_level() == VectorLevel::kAvx512) {
    if (type == NumberType::kBFloat16) path = route_path_bf16();
    if (type == NumberType::kInt8) path = route_path_int8();
  }
  return path == nullptr ? route_path_wide() : *path;
}

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// The parts of the scratch memory: packed query, token scales, chunk scores [C], document scores
/// [N].
struct Workspace {
  PackedQuery query;
  float* chunk_scores = nullptr;
  float* document_scores = nullptr;
  int64_t num_bytes = 0;

  Workspace(const RouteScoresParams& p, const RoutePath& path, std::byte* memory) {
    const auto take = [&](int64_t bytes) {
      std::byte* place = memory == nullptr ? nullptr : memory + num_bytes;
      num_bytes += aligned(bytes);
      return place;
    };
    constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
    query.num_tokens = padded_tokens(p.num_tokens);
    query.values = take(path.packed_bytes(p.num_tokens, p.key_dim));
    query.token_scale = reinterpret_cast<float*>(take(query.num_tokens * kFloatBytes));
    const int64_t num_chunks = p.num_documents == 0 ? 0 : p.first_chunk[p.num_documents];
    chunk_scores = reinterpret_cast<float*>(take(num_chunks * kFloatBytes));
    document_scores = reinterpret_cast<float*>(take(p.num_documents * kFloatBytes));
    if (p.document_scores != nullptr) document_scores = p.document_scores;
  }
};

/// query[t] . key[chunk] in float32 without rounding the query.
template <typename Key>
MSA_INLINE float exact_chunk(const RouteScoresParams& p, int64_t chunk) {
  const Key* key = static_cast<const Key*>(p.key) + chunk * p.key_dim;
  float best = kLowest;
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    const float* query = p.query + t * p.key_dim;
    float partial[16] = {};
    int64_t i = 0;
    for (; i + 16 <= p.key_dim; i += 16) {
      for (int64_t lane = 0; lane < 16; ++lane) {
        partial[lane] += query[i + lane] * widen(key[i + lane]);
      }
    }
    float sum = 0;
    for (; i < p.key_dim; ++i) sum += query[i] * widen(key[i]);
    for (const float value : partial) sum += value;
    best = std::max(best, sum);
  }
  return best;
}

struct Byte {
  int8_t value;
};
using kernels::widen;
MSA_INLINE float widen(Byte byte) { return static_cast<float>(byte.value); }

MSA_VECTOR_CODE float exact_score(const RouteScoresParams& p, int64_t chunk) {
  if (p.key_type == NumberType::kInt8) return exact_chunk<Byte>(p, chunk) * p.key_scale[chunk];
  return exact_chunk<BFloat16>(p, chunk);
}

template <typename Key>
MSA_INLINE float length_of(const RouteScoresParams& p, int64_t chunk) {
  const Key* key = static_cast<const Key*>(p.key) + chunk * p.key_dim;
  float squares = 0;
  for (int64_t i = 0; i < p.key_dim; ++i) squares += widen(key[i]) * widen(key[i]);
  return std::sqrt(squares);
}

/// How far a score may be from that of the unrounded query: six standard deviations, for a key as
/// long as the best one's.
float largest_error(const RouteScoresParams& p, const Workspace& w) {
  const int64_t best = p.selected[0].document;
  const int64_t chunk = std::max_element(w.chunk_scores + p.first_chunk[best],
                                         w.chunk_scores + p.first_chunk[best + 1]) -
                        w.chunk_scores;
  const float length = p.key_type == NumberType::kInt8
                           ? length_of<Byte>(p, chunk) * p.key_scale[chunk]
                           : length_of<BFloat16>(p, chunk);
  return 6 * w.query.error * length;
}

/// Every chunk that could be the best one of a document that could be chosen is scored again with
/// the unrounded query.
void rescore(const RouteScoresParams& p, const Workspace& w) {
  if (p.top_k == 0 || p.selected[0].score == kLowest) return;
  const float window = 2 * largest_error(p, w);
  const float lowest = p.selected[p.top_k - 1].score - window;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < p.num_documents; ++n) {
    const float score = w.document_scores[n];
    if (score < lowest || score == kLowest) continue;
    float best = kLowest;
    for (int64_t c = p.first_chunk[n]; c < p.first_chunk[n + 1]; ++c) {
      if (w.chunk_scores[c] >= score - window) best = std::max(best, exact_score(p, c));
    }
    w.document_scores[n] = best;
  }
}

}  // namespace

void set_wide_routing_only(bool is_wide_only) { wide_only = is_wide_only; }

int64_t route_scores_workspace_bytes(const RouteScoresParams& params) {
  return Workspace(params, path_for(params.key_type), nullptr).num_bytes;
}

void route_scores_cpu(const RouteScoresParams& p, std::byte* workspace) {
  if (p.num_documents == 0) return;
  const RoutePath& path = path_for(p.key_type);
  Workspace w(p, path, workspace);
  path.pack(p, w.query);
  const int64_t num_chunks = p.first_chunk[p.num_documents];
#pragma omp parallel
  {
    // Whole tiles, about evenly; documents do not matter here.
    const int64_t num_tiles = (num_chunks + kTileChunks - 1) / kTileChunks;
    const int64_t thread = omp_get_thread_num();
    const int64_t threads = omp_get_num_threads();
    const int64_t end = num_tiles * (thread + 1) / threads;
    for (int64_t tile = num_tiles * thread / threads; tile < end; ++tile) {
      const int64_t first = tile * kTileChunks;
      path.score(p, w.query, first, std::min(kTileChunks, num_chunks - first),
                 w.chunk_scores + first);
    }
#pragma omp barrier
#pragma omp for schedule(static)
    for (int64_t n = 0; n < p.num_documents; ++n) {
      float best = kLowest;
      for (int64_t c = p.first_chunk[n]; c < p.first_chunk[n + 1]; ++c) {
        best = std::max(best, w.chunk_scores[c]);
      }
      w.document_scores[n] = best;
    }
  }
  const std::span scores(w.document_scores, static_cast<size_t>(p.num_documents));
  const std::span selected(p.selected, static_cast<size_t>(p.top_k));
  select_top_documents(scores, selected);
  if (!path.is_exact) {
    rescore(p, w);
    select_top_documents(scores, selected);
  }
}

}  // namespace msa::kernels
