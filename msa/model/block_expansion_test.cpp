#include "msa/model/block_expansion.h"

#include <gtest/gtest.h>

#include "msa/base/error.h"

namespace msa::model {
namespace {

std::string from(const char* name, int64_t every) { return expanded_tensor(name, every).from; }

TEST(BlockExpansion, EveryLayerComesFromOneOfTheShallowerModel) {
  // 5 layers, a copy behind every second: 0 1 1' 2 3 3' 4
  const int64_t origins[] = {0, 1, 1, 2, 3, 3, 4};
  for (int64_t layer = 0; layer < 7; ++layer) {
    const std::string end = ".self_attn.o_proj.weight";
    const auto tensor = expanded_tensor("model.layers." + std::to_string(layer) + end, 2);
    EXPECT_EQ(tensor.from, "model.layers." + std::to_string(origins[layer]) + end);
    EXPECT_EQ(tensor.is_zero, layer == 2 || layer == 5) << layer;
  }
  EXPECT_EQ(from("model.layers.11.mlp.up_proj.weight", 1), "model.layers.5.mlp.up_proj.weight");
  EXPECT_EQ(from("model.layers.23.input_layernorm.weight", 3),
            "model.layers.17.input_layernorm.weight");
}

TEST(BlockExpansion, OnlyWhatACopyAddsToTheStreamIsZero) {
  EXPECT_TRUE(expanded_tensor("model.layers.1.mlp.down_proj.weight", 1).is_zero);
  EXPECT_FALSE(expanded_tensor("model.layers.0.mlp.down_proj.weight", 1).is_zero);
  EXPECT_FALSE(expanded_tensor("model.layers.1.mlp.up_proj.weight", 1).is_zero);
  EXPECT_FALSE(expanded_tensor("model.layers.1.self_attn.v_proj.weight", 1).is_zero);
}

TEST(BlockExpansion, WhatIsOfNoLayerStays) {
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight", "temperature", "b"}) {
    EXPECT_EQ(from(name, 1), name);
    EXPECT_FALSE(expanded_tensor(name, 1).is_zero);
  }
}

TEST(BlockExpansion, TheConfigSaysWhereRoutersAre) {
  const Json config = {{"num_hidden_layers", 5},
                       {"layer_types", {"a", "b", "c", "d", "e"}},
                       {"msa_config", {{"router_layer_idx", "2,3,4"}, {"doc_top_k", 16}}}};
  const Json deeper = expanded_config(config, 5, {2, 3, 4}, 2);
  EXPECT_EQ(deeper.at("num_hidden_layers"), 7);
  EXPECT_EQ(deeper.at("layer_types"), (Json{"a", "b", "b", "c", "d", "d", "e"}));
  EXPECT_EQ(deeper.at("msa_config").at("router_layer_idx"), "3,4,6");
  EXPECT_EQ(deeper.at("msa_config").at("doc_top_k"), 16);
  const Json plain = expanded_config({{"num_hidden_layers", 5}}, 5, {}, 5);
  EXPECT_EQ(plain, (Json{{"num_hidden_layers", 6}}));
}

TEST(BlockExpansion, ACopyNeedsALayer) {
  for (const int64_t every : {-1, 0, 6}) {
    EXPECT_THROW(expanded_config({{"num_hidden_layers", 5}}, 5, {}, every), Error) << every;
  }
}

}  // namespace
}  // namespace msa::model
