#include "msa/train/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <c10/core/GradMode.h>

#include <map>

#include "msa/base/error.h"

namespace msa::train {
namespace {

enum class Kind { kMatrix, kEmbedding, kVector, kScalar };

Kind kind_of(const NamedTensor& parameter) {
  const std::string_view name = parameter.name;
  if (name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight")) {
    return Kind::kEmbedding;
  }
  if (parameter.tensor.dim() == 2) return Kind::kMatrix;
  return parameter.tensor.dim() == 0 ? Kind::kScalar : Kind::kVector;
}

std::vector<NamedTensor> of_kind(const std::vector<NamedTensor>& parameters, Kind kind) {
  std::vector<NamedTensor> result;
  for (const NamedTensor& parameter : parameters) {
    if (kind_of(parameter) == kind) result.push_back(parameter);
  }
  return result;
}

std::vector<NamedTensor> matrices_of_muon(const std::vector<NamedTensor>& parameters,
                                          const OptimizerConfig& config) {
  if (config.method != OptimizerMethod::kMuon) return {};
  return of_kind(parameters, Kind::kMatrix);
}

}  // namespace

Optimizer::Optimizer(const std::vector<NamedTensor>& parameters, const OptimizerConfig& config)
    : clip_(config.clip),
      parameters_(parameters),
      muon_(matrices_of_muon(parameters, config),
            {.momentum = config.momentum, .weight_decay = config.weight_decay}) {
  const auto add = [&](Kind kind, double rate_factor, double weight_decay) {
    adamw_.emplace_back(of_kind(parameters, kind), AdamWOptions{.rate_factor = rate_factor,
                                                                .beta1 = config.beta1,
                                                                .beta2 = config.beta2,
                                                                .epsilon = config.epsilon,
                                                                .weight_decay = weight_decay});
  };
  if (config.method == OptimizerMethod::kAdamW) add(Kind::kMatrix, 1, config.weight_decay);
  add(Kind::kEmbedding, config.embedding_rate, 0);
  add(Kind::kVector, config.vector_rate, 0);
  add(Kind::kScalar, config.scalar_rate, 0);
}

Optimizer::Step Optimizer::step(double rate, const at::Tensor& is_good, double max_norm) {
  const c10::NoGradGuard guard;
  std::vector<at::Tensor> gradients;
  for (const NamedTensor& parameter : parameters_) {
    if (parameter.tensor.grad().defined()) gradients.push_back(parameter.tensor.grad());
  }
  MSA_CHECK(!gradients.empty(), "no parameter has a gradient");
  const at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients, 2)));
  at::Tensor is_taken = at::isfinite(norm).logical_and(norm <= max_norm);
  if (is_good.defined()) is_taken = is_taken.logical_and(is_good);
  const at::Tensor scale =
      clip_ > 0 ? at::where(is_taken, (clip_ / (norm + 1e-6)).clamp_max(1), at::ones_like(norm))
                : at::ones_like(norm);
  is_taken = is_taken.to(at::kFloat);
  muon_.step(rate, scale, is_taken);
  for (AdamW& adamw : adamw_) adamw.step(rate, scale, is_taken);
  return {.gradient_norm = norm, .is_taken = is_taken};
}

void Optimizer::clear_gradients() {
  for (const NamedTensor& parameter : parameters_) parameter.tensor.mutable_grad() = at::Tensor();
}

std::vector<NamedTensor> Optimizer::state() const {
  std::vector<NamedTensor> state;
  muon_.list_state(state);
  for (const AdamW& adamw : adamw_) adamw.list_state(state);
  return state;
}

void Optimizer::load_state(const std::vector<NamedTensor>& values) {
  const std::vector<NamedTensor> own = state();
  std::map<std::string, at::Tensor> given;
  for (const NamedTensor& value : values) given[value.name] = value.tensor;
  for (const NamedTensor& tensor : own) {
    const auto found = given.find(tensor.name);
    if (found == given.end()) {
      throw Error(ErrorCode::kMismatch, "the state of the optimizer lacks \"", tensor.name, "\"");
    }
    if (found->second.sizes() != tensor.tensor.sizes() ||
        found->second.scalar_type() != tensor.tensor.scalar_type()) {
      throw Error(ErrorCode::kMismatch, "the state of the optimizer has \"", tensor.name,
                  "\" in another shape or type");
    }
  }
  if (given.size() != own.size() || values.size() != own.size()) {
    throw Error(ErrorCode::kMismatch, "the state of the optimizer holds ", values.size(),
                " tensors, this one has ", own.size());
  }
  const c10::NoGradGuard guard;
  for (const NamedTensor& tensor : own) tensor.tensor.copy_(given.at(tensor.name));
}

}  // namespace msa::train
