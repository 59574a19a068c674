#include "msa/autograd/best_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "msa/autograd/linear.h"
#include "msa/autograd/upload.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"
#include "msa/kernels/best_rows.h"

namespace msa::autograd {
namespace {

// Scores of one block of questions: what a CPU's caches hold, what fills a GPU.
constexpr int64_t kScoresCpu = int64_t{1} << 18;
constexpr int64_t kScoresGpu = int64_t{1} << 27;

// A question longer than this many times the shortest of a block, and some rows, begins another.
constexpr double kMostPadding = 1.25;
constexpr int64_t kFreeRows = 4;

// Rows of keys in a product: others than multiples of it take a slower way.
constexpr int64_t kRowStep = 8;

BestScores empty_scores(const at::Tensor& queries, const QuestionBlocks& questions,
                        const at::Tensor& chunk_offsets) {
  const std::array<int64_t, 2> sizes{questions.offsets.numel() - 1, chunk_offsets.numel() - 1};
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

/// [D, longest]: the chunks of each document, the last one repeated.
at::Tensor padded_chunks(const at::Tensor& offsets, int64_t longest) {
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

/// The rows of all blocks, each question's last one repeated up to the longest of its block.
std::vector<int64_t> padded_rows(std::span<const int32_t> offsets,
                                 const std::vector<int64_t>& questions,
                                 const std::vector<QuestionBlocks::Block>& blocks) {
  std::vector<int64_t> rows;
  auto next = questions.begin();
  for (const QuestionBlocks::Block& block : blocks) {
    for (int64_t i = 0; i < block.num_questions; ++i, ++next) {
      const int64_t last = offsets[static_cast<size_t>(*next) + 1] - 1;
      for (int64_t row = 0; row < block.longest; ++row) {
        rows.push_back(std::min(offsets[static_cast<size_t>(*next)] + row, last));
      }
    }
  }
  return rows;
}

}  // namespace

QuestionBlocks question_blocks(std::span<const int32_t> offsets, int64_t num_chunks,
                               at::Device device) {
  QuestionBlocks result;
  result.offsets = at::tensor(at::ArrayRef(offsets.data(), offsets.size()), at::kInt);
  std::vector<int64_t> questions(offsets.size() - 1);
  std::iota(questions.begin(), questions.end(), 0);
  const auto length = [&](int64_t a) {
    return static_cast<int64_t>(offsets[static_cast<size_t>(a) + 1]) -
           offsets[static_cast<size_t>(a)];
  };
  std::stable_sort(questions.begin(), questions.end(),
                   [&](int64_t a, int64_t b) { return length(a) < length(b); });
  const int64_t most_rows = std::max<int64_t>(1, kScoresGpu / std::max<int64_t>(1, num_chunks));
  int64_t most_length = 0;
  for (const int64_t question : questions) {
    const int64_t rows = length(question);
    MSA_CHECK(rows > 0, "best_scores: question ", question, " has no rows");
    const bool fits =
        rows <= most_length && (result.blocks.back().num_questions + 1) * rows <= most_rows;
    if (!fits) {
      result.blocks.emplace_back();
      most_length = static_cast<int64_t>(static_cast<double>(rows) * kMostPadding) + kFreeRows;
    }
    ++result.blocks.back().num_questions;
    result.blocks.back().longest = rows;
  }
  result.rows = upload(padded_rows(offsets, questions, result.blocks), at::kLong, device);
  result.questions = upload(questions, at::kLong, device);
  return result;
}

BestScores best_scores(const at::Tensor& queries, const QuestionBlocks& questions,
                       const at::Tensor& keys, const at::Tensor& chunk_offsets,
                       int64_t most_chunks) {
  const c10::NoGradGuard no_gradients;
  expect_values("best_scores", {queries, keys});
  MSA_CHECK(queries.dim() == 2 && keys.dim() == 2 && queries.size(1) == keys.size(1) &&
                queries.scalar_type() == keys.scalar_type(),
            "best_scores: queries must be [Q, F] and keys [C, F] of one type, got ",
            queries.scalar_type(), " ", queries.sizes(), " and ", keys.scalar_type(), " ",
            keys.sizes());
  expect_offsets("best_scores queries", questions.offsets, queries.size(0));
  expect_offsets("best_scores chunks", chunk_offsets, keys.size(0));
  if (!queries.is_cpu()) {
    return padded_best_scores(queries, questions, keys, chunk_offsets, most_chunks);
  }
  BestScores result = empty_scores(queries, questions, chunk_offsets);
  if (result.scores.numel() == 0) return result;
  MSA_CHECK(chunk_offsets.diff().min().item<int32_t>() > 0,
            "best_scores: a document without chunks has no score");
  best_scores_cpu(queries, questions.offsets, keys, chunk_offsets, result);
  return result;
}

BestScores padded_best_scores(const at::Tensor& queries, const QuestionBlocks& questions,
                              const at::Tensor& keys, const at::Tensor& chunk_offsets,
                              int64_t most_chunks) {
  const c10::NoGradGuard no_gradients;
  BestScores result = empty_scores(queries, questions, chunk_offsets);
  if (result.scores.numel() == 0) return result;
  const int64_t num_documents = chunk_offsets.numel() - 1;
  const auto chunks = padded_chunks(chunk_offsets, most_chunks).flatten();
  const int64_t more = (kRowStep - keys.size(0) % kRowStep) % kRowStep;
  const auto key = at::constant_pad_nd(keys, {0, 0, 0, more});  // no document has these
  int64_t first = 0;
  int64_t row = 0;
  for (const auto& [count, longest] : questions.blocks) {
    const auto rows = questions.rows.narrow(0, row, count * longest);
    const auto score = product(queries.index_select(0, rows), key);
    const auto [over_tokens, place] = score.view({count, longest, key.size(0)}).max(1);
    const auto [best, nth_chunk] =
        over_tokens.index_select(1, chunks).view({count, num_documents, most_chunks}).max(2);
    const auto chunk = nth_chunk + chunk_offsets.slice(0, 0, -1);
    const auto asked = questions.questions.narrow(0, first, count);
    const auto token = rows.view({count, longest}).gather(1, place.gather(1, chunk));
    result.scores.index_copy_(0, asked, best);
    result.chunk.index_copy_(0, asked, chunk);
    result.token.index_copy_(0, asked, token);
    first += count;
    row += count * longest;
  }
  return result;
}

}  // namespace msa::autograd
