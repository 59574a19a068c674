#pragma once
// What a model folder of a config holds: the names and shapes of its weights.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "msa/model/config.h"

namespace msa::model {

/// What an auxiliary loss may learn besides the model, and its limits.
constexpr double kLowestTemperature = 0.001;
constexpr double kHighestTemperature = 0.5;
constexpr double kFirstBias = -20;

/// Names and shapes of a model's weights: embeddings, layers from the first to the last, the final
/// norm, the head where it is not tied; for a model with memory the scalar `temperature`, and the
/// scalar `b` where its auxiliary loss is BCE.
std::vector<std::pair<std::string, std::vector<int64_t>>> parameter_shapes(
    const ModelConfig& config);

/// router_k_proj [G * D, E], router_q_proj [H * D, E] and k_proj [G * D, E] of a layer.
std::string router_k_name(int64_t layer);
std::string router_q_name(int64_t layer);
std::string attention_k_name(int64_t layer);

/// True for router_q_proj and router_k_proj, and the scalars of the auxiliary loss.
bool is_router_parameter(const std::string& name);

/// True for a tensor that a folder may hold and no forward pass reads: a scalar of the auxiliary
/// loss, or the head of a model that uses its embeddings instead.
bool is_unread(const ModelConfig& config, const std::string& name);

/// What `temperature` (infonce_loss_temp, else 0.1) or `b` (-20) begins with where none is stored.
double first_scalar(const ModelConfig& config, const std::string& name);

/// True for the matrices of the layers: those that a folder may keep as int8.
bool is_layer_matrix(const std::string& name, const std::vector<int64_t>& shape);

}  // namespace msa::model
