#include "tests/parity/golden_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "msa/model/parameter_shapes.h"
#include "msa/storage/safetensors.h"
#include "msa/train/forward.h"

namespace msa::parity {
namespace {

using samples::LossTerm;

constexpr int64_t kLongChunk = 1024;
constexpr int64_t kManyDocuments = 1024;

/// Leaf tensors of the checkpoint.
std::map<std::string, at::Tensor> leaves(const GoldenSet& golden, at::ScalarType type,
                                         at::Device device) {
  const auto file = storage::SafetensorsFile::open(real_file_system(),
                                                   golden.folder() / "tiny-msa/model.safetensors");
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, info] : file->tensors()) {
    auto tensor = at::empty(info.shape, at::kFloat);
    file->read(name, {static_cast<std::byte*>(tensor.data_ptr()), info.num_bytes});
    named[name] = tensor.to(device, type).requires_grad_(true);
  }
  named["b"] = at::full({}, model::kFirstBias, at::device(device).dtype(type)).requires_grad_(true);
  return named;
}

/// What the sequence that begins at row `first` is asked.
void add_question(samples::Batch& batch, const Json& sample, const std::vector<int32_t>& roles,
                  size_t first, bool is_smooth) {
  batch.num_asking = 1;
  for (size_t i = first; i < roles.size(); ++i) {
    if (roles[i] == text::kQuestionRole)
      batch.query_rows.push_back(static_cast<int32_t>(i - first));
  }
  if (is_smooth) batch.query_rows = {batch.query_rows.back()};
  batch.query_offsets.push_back(static_cast<int32_t>(batch.query_rows.size()));
  const auto labels = token_ids(sample["document_labels"]);
  for (size_t d = 0; d < labels.size(); ++d) {
    if (labels[d] == 1) batch.gold.push_back(static_cast<int32_t>(d));
  }
  batch.gold_offsets.push_back(static_cast<int32_t>(batch.gold.size()));
}

/// A sample as a batch of its own: its documents are the memory of the one sequence behind them, if
/// it asks.
samples::Batch batch_of(const Json& sample, const GoldenStep& step) {
  const auto tokens = token_ids(sample["tokens"]);
  const auto roles = token_ids(sample["roles"]);
  const auto positions = token_ids(sample["positions"]);
  samples::Batch batch;
  size_t row = 0;
  const auto take = [&](auto&& belongs) {
    std::vector<int32_t> taken;
    while (row < tokens.size() && belongs(roles[row])) taken.push_back(tokens[row++]);
    return taken;
  };
  const auto head = take([](int32_t role) { return role == text::kTemplateRole; });
  if (step.asks) batch.head = head;
  for (int32_t n = 1; row < tokens.size() && roles[row] == n; ++n) {
    const auto document = take([&](int32_t role) { return role == n; });
    if (step.asks) batch.documents.add(document, 0);
  }
  const size_t first = row;
  batch.sequences.add(take([](int32_t role) { return role <= 0; }), positions[first]);
  if (step.asks) add_question(batch, sample, roles, first, step.is_smooth);
  const auto learn = [&](const char* key, LossTerm term) {
    const auto wanted = token_ids(sample[key]);
    for (size_t i = first + 1; i < wanted.size(); ++i) {
      if (wanted[i] < 0) continue;
      batch.targets.rows.push_back(static_cast<int32_t>(i - first) - 1);
      batch.targets.tokens.push_back(wanted[i]);
      batch.targets.weights.push_back(1);
      batch.targets.terms.push_back(term);
    }
  };
  learn("labels", LossTerm::kLanguage);
  learn("reconstruction_labels", LossTerm::kReconstruction);
  if (sample["is_qa"]) learn("answer_labels", LossTerm::kAnswer);
  batch.names = {"sample"};
  samples::check(batch, 1 << 30);
  return batch;
}

}  // namespace

StepResult run_step(const GoldenSet& golden, const GoldenStep& step) {
  model::ConfigOptions changes;
  changes.msa_changes = {{"aux_loss_method", step.method}, {"decouple_router", step.has_routers}};
  if (step.is_smooth) changes.msa_changes["pooling_kernel_size"] = kLongChunk;
  const auto config = model::load_config(real_file_system(), golden.folder() / "tiny-msa", changes);
  auto named = leaves(golden, step.type == at::kBFloat16 ? at::kFloat : step.type, step.device);

  std::vector<samples::Batch> batches;
  train::ForwardOptions options;
  for (const Json& sample : golden.json("train/batch.json")) {
    options.totals.add(batches.emplace_back(batch_of(sample, step)));
  }
  options.type = step.type;
  if (step.learns_tokens) {
    options.weights.term[static_cast<size_t>(LossTerm::kLanguage)] = 1;
    options.weights.term[static_cast<size_t>(LossTerm::kReconstruction)] = 0.5;
    options.weights.term[static_cast<size_t>(LossTerm::kAnswer)] = 0.25;
  }
  options.weights.auxiliary = 0.1;
  options.routing.top_k = step.is_smooth ? kManyDocuments : 4;
  options.routing.forces_gold = false;
  options.recomputes_layers = step.recomputes_layers;
  options.routing.loss = {train::auxiliary_method(step.method), named.at("temperature"),
                          named.at("b")};

  const train::LayerMath math(config, 4096, step.device);
  const auto tensors = train::gather_tensors(
      config,
      [&](const std::string& name) {
        const auto found = named.find(name);
        return found == named.end() ? at::Tensor() : found->second;
      },
      step.type);
  StepResult result;
  result.terms = at::zeros({samples::kNumLossTerms}, at::device(step.device));
  result.auxiliary = at::zeros({3}, at::device(step.device));
  auto loss = at::zeros({}, named.at("b").options().requires_grad(false));
  std::vector<train::StepInput> inputs;  // read again in the backward pass
  for (const auto& batch : batches) {
    inputs.push_back(
        step_input(batch, config.msa.chunk_tokens, options.weights, options.totals, step.device));
  }
  for (const train::StepInput& input : inputs) {
    const auto losses = forward(math, tensors, input, options);
    loss = loss + losses.loss;
    result.terms += losses.terms;
    result.auxiliary += losses.auxiliary;
  }
  loss.backward();
  result.loss = loss.item<double>();
  for (const auto& [name, tensor] : named) result.gradients[name] = tensor.grad();
  return result;
}

}  // namespace msa::parity
