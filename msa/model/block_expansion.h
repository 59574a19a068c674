#pragma once
// Block expansion: a deeper model that begins with the answers of a shallower one. Behind every so
// many layers stands a copy of the last of them whose o_proj and down_proj are zeros, so that it
// passes on what it gets until it is trained. Wu et al., "LLaMA Pro: Progressive LLaMA with Block
// Expansion", 2024 (arXiv 2401.02415).

#include <cstdint>
#include <string>
#include <vector>

#include "msa/base/json.h"

namespace msa::model {

/// Where a tensor of the deeper model comes from.
struct ExpandedTensor {
  std::string from;      // name in the shallower model
  bool is_zero = false;  // only its shape and type are taken
};

/// The config.json of the deeper model, num_layers + num_layers / every layers. Routers stay with
/// the layers that have them: copies have none. Throws Error(kInvalidArgument) unless
/// 1 <= every <= num_layers.
Json expanded_config(const Json& config, int64_t num_layers,
                     const std::vector<int64_t>& router_layers, int64_t every);

/// `name` is one of the deeper model's parameter_shapes.
ExpandedTensor expanded_tensor(const std::string& name, int64_t every);

}  // namespace msa::model
