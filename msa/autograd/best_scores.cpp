#include "msa/autograd/best_scores.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <vector>

#include "msa/autograd/linear.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"
#include "msa/kernels/best_rows.h"

namespace msa::autograd {
namespace {

// Scores of one block of questions: what a CPU's caches hold, what fills a GPU.
constexpr int64_t kScoresCpu = int64_t{1} << 18;
constexpr int64_t kScoresGpu = int64_t{1} << 27;

BestScores empty_scores(const at::Tensor& queries, const at::Tensor& query_offsets,
                        const at::Tensor& chunk_offsets) {
  const std::array<int64_t, 2> sizes{query_offsets.numel() - 1, chunk_offsets.numel() - 1};
  const auto numbers = queries.options().dtype(at::kLong);
  return {.scores = at::empty(sizes, queries.options().dtype(at::kFloat)),
          .token = at::empty(sizes, numbers),
          .chunk = at::empty(sizes, numbers)};
}

/// One question: the best token of every chunk, then the best chunk of every document.
void best_of_question(const float* score, int64_t first_row, int64_t num_rows, int64_t num_chunks,
                      const int32_t* chunk_offsets, int64_t num_documents, float* scores,
                      int64_t* token, int64_t* chunk) {
  std::vector<float> best(num_chunks);
  std::vector<int32_t> row(num_chunks);
  kernels::best_rows({.value = score,
                      .num_rows = num_rows,
                      .num_columns = num_chunks,
                      .best = best.data(),
                      .row = row.data()});
  for (int64_t d = 0; d < num_documents; ++d) {
    const int64_t place =
        std::max_element(best.begin() + chunk_offsets[d], best.begin() + chunk_offsets[d + 1]) -
        best.begin();
    scores[d] = best[place];
    token[d] = first_row + row[place];
    chunk[d] = place;
  }
}

void best_scores_cpu(const at::Tensor& queries, const at::Tensor& query_offsets,
                     const at::Tensor& keys, const at::Tensor& chunk_offsets, BestScores& result) {
  const auto query = queries.to(at::kFloat);
  const auto key = keys.to(at::kFloat);
  const int32_t* first_row = query_offsets.const_data_ptr<int32_t>();
  const int64_t num_questions = query_offsets.numel() - 1;
  const int64_t num_documents = chunk_offsets.numel() - 1;
  const int64_t num_chunks = keys.size(0);
  const int64_t most_rows = std::max<int64_t>(1, kScoresCpu / num_chunks);
  for (int64_t first = 0; first < num_questions;) {
    int64_t end = first + 1;
    while (end < num_questions && first_row[end + 1] - first_row[first] <= most_rows) ++end;
    const auto score =
        row_product(query.slice(0, first_row[first], first_row[end]), key).contiguous();
    parallel_for(end - first, [&](int64_t i) {
      const int64_t question = first + i;
      const int64_t place = question * num_documents;
      best_of_question(
          score.const_data_ptr<float>() + (first_row[question] - first_row[first]) * num_chunks,
          first_row[question], first_row[question + 1] - first_row[question], num_chunks,
          chunk_offsets.const_data_ptr<int32_t>(), num_documents,
          result.scores.data_ptr<float>() + place, result.token.data_ptr<int64_t>() + place,
          result.chunk.data_ptr<int64_t>() + place);
    });
    first = end;
  }
}

/// [S, longest]: the row numbers of each segment, the last one repeated.
at::Tensor padded_rows(const at::Tensor& offsets, int64_t longest) {
  const auto places = at::arange(longest, offsets.options());
  const auto last = (offsets.diff() - 1).unsqueeze(1);
  return (offsets.slice(0, 0, -1).unsqueeze(1) + at::minimum(places, last)).to(at::kLong);
}

/// [M, N] float32 = a [M, K] times b [N, K] transposed.
at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_cuda() && a.scalar_type() != at::kFloat && a.scalar_type() != at::kDouble) {
    return at::mm(a, b.t(), at::kFloat);
  }
  return row_product(a, b).to(at::kFloat);
}

int64_t longest_of(const at::Tensor& offsets) { return offsets.diff().max().item<int32_t>(); }

}  // namespace

BestScores best_scores(const at::Tensor& queries, const at::Tensor& query_offsets,
                       const at::Tensor& keys, const at::Tensor& chunk_offsets,
                       int64_t longest_query, int64_t longest_document) {
  const c10::NoGradGuard no_gradients;
  expect_values("best_scores", {queries, keys});
  MSA_CHECK(queries.dim() == 2 && keys.dim() == 2 && queries.size(1) == keys.size(1) &&
                queries.scalar_type() == keys.scalar_type(),
            "best_scores: queries must be [Q, F] and keys [C, F] of one type, got ",
            queries.scalar_type(), " ", queries.sizes(), " and ", keys.scalar_type(), " ",
            keys.sizes());
  expect_offsets("best_scores queries", query_offsets, queries.size(0));
  expect_offsets("best_scores chunks", chunk_offsets, keys.size(0));
  if (!queries.is_cpu()) {
    if (query_offsets.numel() == 1 || chunk_offsets.numel() == 1) {
      return empty_scores(queries, query_offsets, chunk_offsets);
    }
    return padded_best_scores(queries, query_offsets, keys, chunk_offsets,
                              longest_query > 0 ? longest_query : longest_of(query_offsets),
                              longest_document > 0 ? longest_document : longest_of(chunk_offsets));
  }
  BestScores result = empty_scores(queries, query_offsets, chunk_offsets);
  if (result.scores.numel() == 0) return result;
  MSA_CHECK(query_offsets.diff().min().item<int32_t>() > 0 &&
                chunk_offsets.diff().min().item<int32_t>() > 0,
            "best_scores: a question without rows or a document without chunks has no score");
  best_scores_cpu(queries, query_offsets, keys, chunk_offsets, result);
  return result;
}

BestScores padded_best_scores(const at::Tensor& queries, const at::Tensor& query_offsets,
                              const at::Tensor& keys, const at::Tensor& chunk_offsets,
                              int64_t longest_query, int64_t longest_document) {
  const c10::NoGradGuard no_gradients;
  BestScores result = empty_scores(queries, query_offsets, chunk_offsets);
  const auto query_rows = padded_rows(query_offsets, longest_query);
  const auto chunk_rows = padded_rows(chunk_offsets, longest_document);
  const int64_t num_questions = query_rows.size(0);
  const int64_t num_documents = chunk_rows.size(0);
  const int64_t num_chunks = keys.size(0);
  const int64_t block = std::max<int64_t>(1, kScoresGpu / (longest_query * num_chunks));
  for (int64_t first = 0; first < num_questions; first += block) {
    const int64_t count = std::min(block, num_questions - first);
    const auto rows = query_rows.narrow(0, first, count);
    const auto score = product(queries.index_select(0, rows.flatten()), keys);
    const auto [over_tokens, place] = score.view({count, longest_query, num_chunks}).max(1);
    const auto [best, nth_chunk] = over_tokens.index_select(1, chunk_rows.flatten())
                                       .view({count, num_documents, longest_document})
                                       .max(2);
    const auto chunk = nth_chunk + chunk_offsets.slice(0, 0, -1);
    result.scores.narrow(0, first, count).copy_(best);
    result.chunk.narrow(0, first, count).copy_(chunk);
    result.token.narrow(0, first, count)
        .copy_(place.gather(1, chunk) + query_offsets.slice(0, first, first + count).unsqueeze(1));
  }
  return result;
}

}  // namespace msa::autograd
