#include "msa/model/block_expansion.h"

#include <charconv>
#include <string_view>

#include "msa/base/error.h"

namespace msa::model {
namespace {

constexpr std::string_view kLayers = "model.layers.";

/// The place of a layer behind the copies before it.
int64_t moved(int64_t layer, int64_t every) { return layer + layer / every; }

}  // namespace

Json expanded_config(const Json& config, int64_t num_layers,
                     const std::vector<int64_t>& router_layers, int64_t every) {
  MSA_CHECK(every >= 1 && every <= num_layers, "a copy comes behind every 1 to ", num_layers,
            " layers, got ", every);
  Json result = config;
  result["num_hidden_layers"] = num_layers + num_layers / every;
  if (!router_layers.empty()) {
    std::string names;
    for (const int64_t layer : router_layers) {
      names += (names.empty() ? "" : ",") + std::to_string(moved(layer, every));
    }
    result["msa_config"]["router_layer_idx"] = names;
  }
  if (json_has(config, "layer_types")) {  // Qwen3: one entry a layer
    Json types = Json::array();
    for (const Json& type : config.at("layer_types")) {
      types.push_back(type);
      if (static_cast<int64_t>(types.size()) % (every + 1) == every) types.push_back(type);
    }
    result["layer_types"] = std::move(types);
  }
  return result;
}

ExpandedTensor expanded_tensor(const std::string& name, int64_t every) {
  if (!name.starts_with(kLayers)) return {.from = name};
  int64_t layer = 0;
  const char* const first = name.data() + kLayers.size();
  const char* const end = std::from_chars(first, name.data() + name.size(), layer).ptr;
  const int64_t copies = layer / (every + 1);  // before it
  const bool is_copy = layer % (every + 1) == every;
  const std::string rest(end, name.data() + name.size());
  const int64_t from = layer - copies - (is_copy ? 1 : 0);
  return {.from = std::string(kLayers) + std::to_string(from) + rest,
          .is_zero =
              is_copy && (rest.ends_with("o_proj.weight") || rest.ends_with("down_proj.weight"))};
}

}  // namespace msa::model
