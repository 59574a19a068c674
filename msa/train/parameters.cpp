#include "msa/train/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <cstring>
#include <set>
#include <span>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/stored_weights.h"
#include "msa/model/weight_tensor.h"
#include "msa/storage/digest.h"
#include "msa/storage/safetensors.h"

namespace msa::train {
namespace {

bool ends_with(const std::string& name, std::string_view end) {
  return std::string_view(name).ends_with(end);
}

/// splitmix64.
uint64_t next(uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Nearly normal, of deviation 1: the sum of twelve even numbers of 16 bits, in integers, so that
/// no machine's mathematical library has a say.
float normal(uint64_t& state) {
  int64_t sum = 0;
  for (int word = 0; word < 3; ++word) {
    const uint64_t bits = next(state);
    for (int shift = 0; shift < 64; shift += 16) {
      sum += static_cast<int64_t>((bits >> shift) & 0xffffU);
    }
  }
  return static_cast<float>(sum - 6 * 65535) * 0x1p-16F;
}

at::Tensor random_matrix(const std::string& name, const std::vector<int64_t>& shape, double width,
                         uint64_t seed) {
  uint64_t first = seed;
  const storage::Digest digest = storage::digest_of(std::as_bytes(std::span(name)));
  uint64_t name_bits = 0;
  std::memcpy(&name_bits, digest.data(), sizeof(name_bits));
  first = next(first) ^ name_bits;
  auto matrix = at::empty(shape, at::kFloat);
  auto* values = matrix.data_ptr<float>();
  const int64_t columns = shape[1];
  parallel_for(shape[0], [&](int64_t row) {
    uint64_t state = first + static_cast<uint64_t>(row) * 0x632be59bd9b4e019U;
    for (int64_t i = 0; i < columns; ++i) {
      values[row * columns + i] = normal(state) * static_cast<float>(width);
    }
  });
  return matrix;
}

double deviation_of(const std::string& name, const std::vector<int64_t>& shape) {
  if (ends_with(name, "embed_tokens.weight") || ends_with(name, "lm_head.weight")) return 0.02;
  const bool adds_to_stream =
      ends_with(name, "o_proj.weight") || ends_with(name, "down_proj.weight");
  return (adds_to_stream ? 0.5 : 1.0) / std::sqrt(static_cast<double>(shape[1]));
}

}  // namespace

Parameters::Parameters(model::ModelConfig config) : config_(std::move(config)) {}

void Parameters::add(const std::string& name, at::Tensor value) {
  value.requires_grad_(true);
  places_[name] = all_.size();
  all_.push_back({.name = name, .tensor = std::move(value)});
}

Parameters Parameters::random(const model::ModelConfig& config, uint64_t seed) {
  Parameters parameters(config);
  for (const auto& [name, shape] : model::parameter_shapes(config)) {
    if (shape.empty()) {
      parameters.add(name, at::full({}, model::first_scalar(config, name), at::kFloat));
    } else if (shape.size() == 1) {
      parameters.add(name, at::ones(shape, at::kFloat));
    } else {
      parameters.add(name, random_matrix(name, shape, deviation_of(name, shape), seed));
    }
  }
  parameters.tie_routers();
  return parameters;
}

Parameters Parameters::load(FileSystem& files, const std::filesystem::path& folder,
                            const model::ModelConfig& config) {
  const auto weights = model::StoredWeights::open(files, folder, config);
  Parameters parameters(config);
  for (const auto& [name, shape] : model::parameter_shapes(config)) {
    if (shape.empty() && !weights.find(name, shape)) {
      parameters.add(name, at::full({}, model::first_scalar(config, name), at::kFloat));
    } else {
      const at::Tensor stored = model::weight_tensor(weights.at(name, shape), shape, nullptr);
      parameters.add(name, stored.to(at::kFloat));
    }
  }
  for (const std::string& name : weights.names()) {
    if (parameters.has(name) || model::is_unread(config, name)) continue;
    throw Error(ErrorCode::kInvalidFormat, folder.string(), ": the tensor \"", name,
                "\" belongs to no layer of config.json");
  }
  return parameters;
}

const at::Tensor& Parameters::operator[](const std::string& name) const {
  const auto found = places_.find(name);
  MSA_CHECK(found != places_.end(), "the model has no parameter \"", name, "\"");
  return all_[found->second].tensor;
}

at::Tensor Parameters::find(const std::string& name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? at::Tensor() : all_[found->second].tensor;
}

int64_t Parameters::num_values() const {
  int64_t sum = 0;
  for (const NamedTensor& parameter : all_) sum += parameter.tensor.numel();
  return sum;
}

void Parameters::move_to(at::Device device) {
  for (NamedTensor& parameter : all_) {
    const bool is_trained = parameter.tensor.requires_grad();
    parameter.tensor = parameter.tensor.detach().to(device);
    parameter.tensor.requires_grad_(is_trained);
  }
}

void Parameters::copy_from(const std::vector<NamedTensor>& values) {
  if (values.size() != all_.size()) {
    throw Error(ErrorCode::kMismatch, "the model has ", all_.size(), " parameters, got ",
                values.size());
  }
  std::set<std::string> names;
  for (const NamedTensor& value : values) {
    if (!has(value.name) || !names.insert(value.name).second) {
      throw Error(ErrorCode::kMismatch, "the model has no such parameter or it comes twice: \"",
                  value.name, "\"");
    }
    const at::Tensor& own = (*this)[value.name];
    if (own.sizes() != value.tensor.sizes()) {
      throw Error(ErrorCode::kMismatch, "parameter \"", value.name, "\" has the shape ",
                  storage::shape_text(own.sizes().vec()), ", got ",
                  storage::shape_text(value.tensor.sizes().vec()));
    }
  }
  const c10::NoGradGuard guard;
  for (const NamedTensor& value : values) all_[places_.at(value.name)].tensor.copy_(value.tensor);
}

void Parameters::tie_routers(bool from_attention_keys) {
  if (!config_.msa.has_own_router) return;
  const c10::NoGradGuard guard;
  const int64_t group = config_.num_heads / config_.num_kv_heads;
  for (const int64_t layer : config_.msa.router_layers) {
    at::Tensor key = (*this)[model::router_k_name(layer)];
    if (from_attention_keys) key.copy_((*this)[model::attention_k_name(layer)]);
    at::Tensor query = (*this)[model::router_q_name(layer)];
    query.view({config_.num_kv_heads, group, config_.head_dim, config_.embed_dim})
        .copy_(key.view({config_.num_kv_heads, 1, config_.head_dim, config_.embed_dim})
                   .expand({config_.num_kv_heads, group, config_.head_dim, config_.embed_dim}));
  }
}

void Parameters::draw_routers(uint64_t seed) {
  const c10::NoGradGuard guard;
  for (const NamedTensor& parameter : all_) {
    if (!model::is_router_parameter(parameter.name) || parameter.tensor.dim() != 2) continue;
    const std::vector<int64_t> shape = parameter.tensor.sizes().vec();
    parameter.tensor.detach().copy_(
        random_matrix(parameter.name, shape, deviation_of(parameter.name, shape), seed));
  }
}

void Parameters::train_routers_alone(bool routers_alone) {
  for (const NamedTensor& parameter : all_) {
    parameter.tensor.requires_grad_(!routers_alone || model::is_router_parameter(parameter.name));
  }
}

void Parameters::clamp_temperature() {
  if (!has("temperature")) return;
  const c10::NoGradGuard guard;
  all_[places_.at("temperature")].tensor.clamp_(model::kLowestTemperature,
                                                model::kHighestTemperature);
}

}  // namespace msa::train
