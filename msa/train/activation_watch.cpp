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

/// Names of what the rows belong to, in order, each once.
std::vector<std::string> samples_of(RowsOf kind, const std::vector<int64_t>& rows,
                                    const samples::Batch& batch, const StepInput& input) {
  std::set<int64_t> places;
  if (kind == RowsOf::kDocumentTokens || kind == RowsOf::kChunks) {
    std::vector<int64_t> offsets = on_host(input.documents.offsets);
    if (kind == RowsOf::kChunks) offsets = on_host(input.document_offsets);
    for (const int64_t row : rows) places.insert(place_of(offsets, row));
    std::vector<std::string> names;
    for (const int64_t place : places) names.push_back("document " + std::to_string(place));
    return names;
  }
  if (kind == RowsOf::kNothing) return {};
  const std::vector<int64_t> offsets = on_host(input.sequences.offsets);
  std::vector<int64_t> tokens = rows;
  if (kind == RowsOf::kTargets) {
    const std::vector<int64_t> targets = on_host(input.target_rows);
    for (int64_t& row : tokens) row = targets[static_cast<size_t>(row)];
  }
  for (const int64_t row : tokens) places.insert(place_of(offsets, row));
  std::vector<std::string> names;
  for (const int64_t place : places) {
    const auto sequence = static_cast<size_t>(place - 1);  // the head is the first
    names.push_back(place == 0 ? "the prompt head" : batch.names[sequence]);
  }
  return names;
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
