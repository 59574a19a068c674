#include "msa/train/activation_watch.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>

namespace msa::train {
namespace {

/// The place whose range [offsets[i], offsets[i + 1]) holds `row`.
int64_t place_of(const std::vector<int64_t>& offsets, int64_t row) {
  return std::upper_bound(offsets.begin(), offsets.end(), row) - offsets.begin() - 1;
}

std::vector<int64_t> on_host(const at::Tensor& tensor) {
  const auto values = tensor.to(at::kLong).cpu().contiguous();
  const auto* first = values.const_data_ptr<int64_t>();
  return {first, first + values.numel()};
}

/// Rows of targets as rows of tokens.
std::vector<int64_t> tokens_of(const at::Tensor& targets, const std::vector<int64_t>& rows) {
  const std::vector<int64_t> tokens = on_host(targets);
  std::vector<int64_t> out;
  for (const int64_t row : rows) out.push_back(tokens[static_cast<size_t>(row)]);
  return out;
}

/// Of documents by their places in the memory.
std::vector<std::string> document_names(const at::Tensor& offsets,
                                        const std::vector<int64_t>& rows) {
  const std::vector<int64_t> begins = on_host(offsets);
  std::set<int64_t> places;
  for (const int64_t row : rows) places.insert(place_of(begins, row));
  std::vector<std::string> names;
  for (const int64_t place : places) names.push_back("document " + std::to_string(place));
  return names;
}

std::vector<std::string> sequence_names(const std::vector<int64_t>& rows,
                                        const samples::Batch& batch, const StepInput& input) {
  const std::vector<int64_t> begins = on_host(input.sequences.offsets);
  std::set<int64_t> places;
  for (const int64_t row : rows) places.insert(place_of(begins, row));
  std::vector<std::string> names;
  for (const int64_t place : places) {
    const auto sequence = static_cast<size_t>(place - 1);  // the head is the first
    names.push_back(place == 0 ? "the prompt head" : batch.names[sequence]);
  }
  return names;
}

/// Names of what the rows belong to, in order, each once.
std::vector<std::string> samples_of(RowsOf kind, const std::vector<int64_t>& rows,
                                    const samples::Batch& batch, const StepInput& input) {
  switch (kind) {
    case RowsOf::kDocumentTokens:
      return document_names(input.documents.offsets, rows);
    case RowsOf::kChunks:
      return document_names(input.document_offsets, rows);
    case RowsOf::kDocumentTargets:
      return document_names(input.documents.offsets, tokens_of(input.document_target_rows, rows));
    case RowsOf::kSequenceTokens:
      return sequence_names(rows, batch, input);
    case RowsOf::kSequenceTargets:
      return sequence_names(tokens_of(input.target_rows, rows), batch, input);
    case RowsOf::kTargets: {
      std::vector<int64_t> of_documents;
      std::vector<int64_t> of_sequences;
      const int64_t border = input.num_document_targets();
      for (const int64_t row : rows) {
        if (row < border) of_documents.push_back(row);
        if (row >= border) of_sequences.push_back(row - border);
      }
      auto names = samples_of(RowsOf::kDocumentTargets, of_documents, batch, input);
      const auto more = samples_of(RowsOf::kSequenceTargets, of_sequences, batch, input);
      names.insert(names.end(), more.begin(), more.end());
      return names;
    }
    case RowsOf::kNothing:
      break;
  }
  return {};
}

}  // namespace

void ActivationWatch::see(const LayerBorder& border, const at::Tensor& tensor) {
  if (!tensor.defined()) return;
  const c10::NoGradGuard no_gradients;
  const auto values = tensor.detach();
  const auto rows = values.dim() < 2 ? values.reshape({1, -1}) : values.flatten(1);
  seen_.push_back({border, rows.sum(1, /*keepdim=*/false, at::kFloat)});
}

at::Tensor ActivationWatch::all_finite() const {
  if (seen_.empty()) return {};
  std::vector<at::Tensor> sums;
  for (const Seen& seen : seen_) sums.push_back(seen.sums);
  return at::isfinite(at::cat(sums)).all();
}

BadActivation ActivationWatch::first_bad(const samples::Batch& batch,
                                         const StepInput& input) const {
  for (const Seen& seen : seen_) {
    std::vector<int64_t> rows = on_host(at::isfinite(seen.sums).logical_not().nonzero().flatten());
    if (rows.empty()) continue;
    for (int64_t& row : rows) row += seen.border.first_row;
    return {.tensor = name_of(seen.border),
            .samples = samples_of(seen.border.rows, rows, batch, input)};
  }
  return {};
}

}  // namespace msa::train
