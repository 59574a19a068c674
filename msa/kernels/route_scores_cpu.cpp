#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <span>

#include "msa/base/threads.h"
#include "msa/kernels/cpu_features.h"
#include "msa/kernels/route_rescore.h"
#include "msa/kernels/route_scores.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/top_documents.h"

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

/// The parts of the scratch memory: packed query, scales and errors of tokens, chunk scores [C],
/// what they may reach [C] unless the path is exact, document scores [N].
struct Workspace {
  PackedQuery query;
  float* chunk_scores = nullptr;
  float* reach = nullptr;
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
    query.token_error = reinterpret_cast<float*>(take(query.num_tokens * kFloatBytes));
    const int64_t num_chunks = p.num_documents == 0 ? 0 : p.first_chunk[p.num_documents];
    chunk_scores = reinterpret_cast<float*>(take(num_chunks * kFloatBytes));
    reach = reinterpret_cast<float*>(take(path.is_exact ? 0 : num_chunks * kFloatBytes));
    document_scores = reinterpret_cast<float*>(take(p.num_documents * kFloatBytes));
    if (p.document_scores != nullptr) document_scores = p.document_scores;
  }
};

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
                 w.chunk_scores + first, path.is_exact ? nullptr : w.reach + first);
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
    rescore(p, {.chunk = w.chunk_scores, .reach = w.reach, .document = w.document_scores});
    select_top_documents(scores, selected);
  }
}

}  // namespace msa::kernels
