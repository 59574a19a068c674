#include "msa/train/key_rows.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace msa::train {
namespace {

/// `begin` and `count` [S, m] int64: each sequence sees m runs of rows of the table, one after the
/// other.
KeyRows runs(const at::Tensor& begin, const at::Tensor& count, int64_t num_table_rows) {
  const auto per_sequence = count.sum(1);
  const auto flat_count = count.flatten();
  const auto flat_end = flat_count.cumsum(0);
  KeyRows out;
  out.longest = per_sequence.max().item<int64_t>();
  // A run's rows are its begin plus the place within the run.
  const auto shift = begin.flatten() - (flat_end - flat_count);
  auto rows = at::repeat_interleave(shift, flat_count);
  rows += at::arange(rows.size(0), rows.options());
  out.rows = autograd::rows_to_gather(rows, num_table_rows);
  out.offsets = at::constant_pad_nd(per_sequence.cumsum(0), {1, 0}).to(at::kInt);
  return out;
}

struct Runs {
  at::Tensor begin;  // [S] int64
  at::Tensor count;
};

Runs own_runs(const StepInput& input) {
  const auto offsets = input.sequences.offsets.to(at::kLong);
  return {offsets.slice(0, 0, -1), offsets.diff()};
}

/// The head for those who are asked, nothing for the others.
Runs head_runs(const StepInput& input, const Runs& own) {
  auto count = at::zeros_like(own.count);
  if (input.num_asking > 0) count.slice(0, 1, 1 + input.num_asking).fill_(input.num_head_tokens);
  return {at::zeros_like(own.begin), count};
}

}  // namespace

KeyRows own_key_rows(const StepInput& input) {
  if (input.num_asking == 0) {
    KeyRows out;
    out.is_table = true;
    out.offsets = input.sequences.offsets;
    out.longest = input.sequences.longest;
    return out;
  }
  const Runs own = own_runs(input);
  const Runs head = head_runs(input, own);
  return runs(at::stack({head.begin, own.begin}, 1), at::stack({head.count, own.count}, 1),
              input.sequences.tokens.size(0));
}

KeyRows selected_key_rows(const StepInput& input, const at::Tensor& selected, int64_t num_chunks) {
  const Runs own = own_runs(input);
  const Runs head = head_runs(input, own);
  const int64_t num_tokens = input.sequences.tokens.size(0);
  const auto first_chunk = input.document_offsets.to(at::kLong);
  const auto chosen = [&](const at::Tensor& of_document) {  // [S, K], 0 for those not asked
    auto all = at::zeros({own.begin.size(0), selected.size(1)}, own.begin.options());
    all.slice(0, 1, 1 + input.num_asking).copy_(of_document.index({selected}));
    return all;
  };
  const auto begin = chosen(first_chunk.slice(0, 0, -1) + num_tokens);
  const auto count = chosen(first_chunk.diff());
  const auto column = [](const at::Tensor& values) { return values.unsqueeze(1); };
  return runs(at::cat({column(head.begin), begin, column(own.begin)}, 1),
              at::cat({column(head.count), count, column(own.count)}, 1), num_tokens + num_chunks);
}

}  // namespace msa::train
