#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/route_scan_tiles.h"

namespace msa::kernels {
namespace {

constexpr int64_t kAlignment = 256;

TokenSpans spans_of(const RouteBatchParams& p) {
  MSA_CHECK(p.first_token[0] == 0, "route_batch: the first question's tokens begin at ",
            p.first_token[0]);
  TokenSpans spans{};
  for (int64_t b = 0; b < p.num_questions; ++b) {
    const int64_t count = p.first_token[b + 1] - p.first_token[b];
    MSA_CHECK(count > 0, "route_batch: question ", b, " has ", count, " tokens");
    const int64_t filled = (count + kTokenStep - 1) / kTokenStep * kTokenStep;
    spans.given[b + 1] = static_cast<int32_t>(spans.given[b] + count);
    spans.filled[b + 1] = static_cast<int32_t>(spans.filled[b] + filled);
  }
  return spans;
}

/// The parts of the scratch at `memory`.
RouteBatchSpace space_at(const RouteBatchParams& p, std::byte* memory) {
  RouteBatchSpace space;
  const auto take = [&](auto*& part, int64_t count) {
    using Value = std::remove_reference_t<decltype(*part)>;
    part = memory == nullptr ? nullptr : reinterpret_cast<Value*>(memory + space.num_bytes);
    const int64_t bytes = count * static_cast<int64_t>(sizeof(Value));
    space.num_bytes += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  constexpr int64_t kSlice = 128;
  const bool is_packed = p.packed.value != nullptr;
  const int64_t query_bytes = is_packed ? packed_dim(p.key_dim) : p.key_dim * bytes_of(p.key_type);
  space.query_row_bytes = (query_bytes + kSlice - 1) / kSlice * kSlice;
  space.num_tokens = spans_of(p).filled[p.num_questions];
  take(space.num_taken, space.num_tokens / kTokenStep);
  const auto zeros_from = [&](int64_t begin) {
    return ZeroBytes{memory == nullptr ? nullptr : memory + begin, space.num_bytes - begin};
  };
  space.early_zeros = zeros_from(0);
  take(space.chunk_score, p.num_questions * p.num_chunks);
  const int64_t late = space.num_bytes;
  take(space.fresh, p.num_questions * p.num_documents);
  take(space.ticket, p.num_questions);
  take(space.num_candidates, p.num_questions);
  take(space.num_listed, p.num_questions);
  space.late_zeros = zeros_from(late);
  take(space.leader, p.num_questions * kLeaders);
  take(space.candidate, p.num_questions * p.num_documents);
  take(space.listed, p.num_questions * p.num_chunks);
  take(space.query, space.num_tokens * space.query_row_bytes);
  take(space.token_scale, space.num_tokens);
  take(space.block_owner, space.num_tokens / kTokenStep);
  take(space.window, space.num_tokens);
  if (!is_packed) return space;
  take(space.scale_window, space.num_tokens);
  take(space.error_window, space.num_tokens);
  space.num_best = std::min({2 * p.top_k, kMostRouted, p.num_documents});
  take(space.best, p.num_questions * space.num_best);
  return space;
}

/// Whether a question has tokens in several tiles of so many.
bool is_cut(const TokenSpans& spans, int64_t num_questions, int64_t tile_tokens) {
  for (int64_t b = 0; b < num_questions; ++b) {
    if (spans.filled[b] / tile_tokens != (spans.filled[b + 1] - 1) / tile_tokens) return true;
  }
  return false;
}

void expect_supported(const RouteBatchParams& p) {
  constexpr int64_t kMost = 0x7fffffff;
  MSA_CHECK(p.key_type == NumberType::kBFloat16 || p.key_type == NumberType::kInt8,
            "route_batch: keys must be bfloat16 or int8");
  MSA_CHECK(p.num_questions > 0 && p.num_questions <= kMostQuestions, "route_batch: 1 to ",
            kMostQuestions, " questions, got ", p.num_questions);
  MSA_CHECK(
      p.num_documents > 0 && p.num_documents <= kMost && p.num_chunks > 0 && p.num_chunks <= kMost,
      "route_batch: 1 to 2^31 - 1 documents and chunks, got ", p.num_documents, " and ",
      p.num_chunks);
  MSA_CHECK(p.key_dim > 0 && p.key_dim * bytes_of(p.key_type) % 16 == 0,
            "route_batch: a key must be whole 16 bytes, got ", p.key_dim, " values");
  MSA_CHECK(p.packed.value == nullptr || p.key_dim <= kMostPackedDim,
            "route_batch: packed keys have at most ", kMostPackedDim, " values, got ", p.key_dim);
  MSA_CHECK(p.top_k > 0 && p.top_k <= kMostRouted && p.top_k <= p.num_documents,
            "route_batch: top_k must be in [1, ", kMostRouted, "] and at most the documents, got ",
            p.top_k);
}

}  // namespace

int64_t route_batch_workspace_bytes(const RouteBatchParams& params) {
  expect_supported(params);
  return space_at(params, nullptr).num_bytes;
}

void route_batch_cuda(const RouteBatchParams& params, std::byte* workspace, CudaStream stream) {
  expect_supported(params);
  const TokenSpans spans = spans_of(params);
  RouteBatchSpace space = space_at(params, workspace);
  if (params.packed.value != nullptr) {
    prepare_packed_queries(params, spans, space, stream);
    scan_packed_keys(params, space, stream);
    find_leaders(params, space, stream);
    score_leaders(params, spans, space, stream);
  } else {
    // Tiles that share a question raise its scores.
    if (is_cut(spans, params.num_questions, tile_tokens(space.num_tokens))) {
      space.early_zeros.num_bytes = space.late_zeros.begin - workspace;
    }
    prepare_queries(params, spans, space, stream);
    scan_keys(params, space, stream);
    find_leaders(params, space, stream);
  }
  list_candidates(params, spans, space, stream);
  choose_listed(params, spans, space, stream);
  if (params.score_sum != nullptr) add_scores(params, space, stream);
}

}  // namespace msa::kernels
