#pragma once
// What msa bench route measures: one memory of random keys, its questions, and their right answers.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "msa/kernels/number_type.h"
#include "msa/kernels/route_scores.h"

namespace msa::cli {

constexpr int64_t kChunksPerDocument = 5;

/// Vectors of length 1 in directions without a pattern.
struct RouteTask {
  kernels::NumberType type = kernels::NumberType::kFloat32;
  int64_t dim = 0;
  std::vector<float> rows;           // [C, F], never rounded
  std::vector<std::byte> stored;     // [C, F] of `type`
  std::vector<float> scales;         // [C], int8 only
  std::vector<int64_t> first_chunk;  // [N + 1]
  std::vector<float> query;          // [B * T, F], T for each question

  int64_t num_documents() const { return static_cast<int64_t>(first_chunk.size()) - 1; }
  int64_t num_chunks() const { return first_chunk.back(); }
};

/// `type` is f32, bf16, int8, or int4: keys of int8. The same numbers on any number of threads.
RouteTask make_route_task(const std::string& type, int64_t chunks, int64_t dim, int64_t tokens);

/// The keys as they are stored, as float32: without a further rounding.
std::vector<float> stored_rows(const RouteTask& task);

/// Scores of all documents for the tokens of `query` [T, F], in double precision.
std::vector<double> reference_scores(const RouteTask& task, const std::vector<float>& rows,
                                     std::span<const float> query);

/// How a choice compares with that of double precision.
struct Agreement {
  int64_t same = 0;            // documents that both chose
  bool is_same_order = false;  // and each at the same place
  double shortfall = 0;        // of the worst one chosen, below the last that belongs there
};

Agreement compare(std::span<const kernels::ScoredDocument> selected,
                  const std::vector<double>& scores);

/// Throws Error(kInternal) unless the documents are those of double precision on the stored keys;
/// scores closer than a sum in float32 can tell apart may change places.
void expect_right(std::span<const kernels::ScoredDocument> selected,
                  const std::vector<double>& scores);

}  // namespace msa::cli
