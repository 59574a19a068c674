#include "msa/model/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "msa/base/error.h"

namespace msa::model {
namespace {

using memory::ChunkReduce;
using memory::HeadReduce;
using memory::QueryReduce;

Json plain() {
  return parse_json(R"({"model_type": "qwen3", "num_hidden_layers": 4, "hidden_size": 32,
      "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 100, "rms_norm_eps": 1e-6, "rope_theta": 10000})",
                    "test");
}

Json with_memory() {
  Json json = plain();
  json["msa_config"] = Json::object();
  return json;
}

/// That the config is refused, and what the message says.
void expect_refused(const Json& json, const std::string& part, const ConfigOptions& options = {}) {
  try {
    parse_config(json, "config.json", options);
    ADD_FAILURE() << "taken: " << to_line(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("config.json"), 0U) << error.what();
  }
}

/// A folder whose files are these texts.
class Folder {
 public:
  Folder() { std::filesystem::create_directory(path()); }
  ~Folder() { std::filesystem::remove_all(path()); }
  std::filesystem::path path() const {
    return std::filesystem::path(testing::TempDir()) / ("msa_config_" + std::to_string(getpid()));
  }
  void put(const char* name, const std::string& text) const {
    std::ofstream(path() / name) << text;
  }
  ModelConfig load() const { return load_config(real_file_system(), path()); }
};

TEST(ModelConfig, APlainFolderHasNoMemoryAndWhatIsLeftOutItsUsualValue) {
  const ModelConfig config = parse_config(plain(), "config.json");
  EXPECT_FALSE(config.has_memory());
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_FLOAT_EQ(config.attention_scale(), 0.35355339F);
  EXPECT_FALSE(config.ties_embeddings);
  EXPECT_FALSE(config.has_int8_matrices);
  EXPECT_TRUE(config.end_tokens.empty());
}

TEST(ModelConfig, WhatIsNotSupportedMayBeSaidToBeOff) {
  Json json = plain();
  json["hidden_act"] = "silu";
  json["rope_scaling"] = nullptr;
  json["attention_bias"] = false;
  json["use_sliding_window"] = false;
  EXPECT_NO_THROW(parse_config(json, "config.json", {}));
}

TEST(ModelConfig, EveryValueOutOfRangeIsRefusedByItsKey) {
  const std::pair<const char*, Json> changes[] = {{"model_type", "llama"},
                                                  {"model_type", 3},
                                                  {"num_hidden_layers", 0},
                                                  {"num_hidden_layers", 513},
                                                  {"hidden_size", 65537},
                                                  {"intermediate_size", -1},
                                                  {"num_attention_heads", "4"},
                                                  {"num_attention_heads", 3},
                                                  {"num_key_value_heads", 5},
                                                  {"head_dim", 7},
                                                  {"head_dim", 1026},
                                                  {"vocab_size", 1e3},
                                                  {"vocab_size", uint64_t{1} << 63},
                                                  {"rms_norm_eps", 2},
                                                  {"rope_theta", 0.5},
                                                  {"hidden_act", "gelu"},
                                                  {"rope_scaling", Json{{"factor", 2}}},
                                                  {"rope_parameters", 3},
                                                  {"rope_parameters", Json{{"rope_type", "yarn"}}},
                                                  {"rope_parameters", Json::object()},
                                                  {"attention_bias", true},
                                                  {"use_sliding_window", true},
                                                  {"tie_word_embeddings", 1},
                                                  {"quantization_config", Json::object()},
                                                  {"eos_token_id", 100},
                                                  {"eos_token_id", -1},
                                                  {"eos_token_id", Json{1, "2"}},
                                                  {"eos_token_id", uint64_t{1} << 63},
                                                  {"msa_config", "none"}};
  for (const auto& [key, value] : changes) {
    Json json = plain();
    json[key] = value;
    expect_refused(json, key);
  }
  for (const char* key : {"num_hidden_layers", "vocab_size", "rope_theta"}) {
    Json json = plain();
    json.erase(key);
    expect_refused(json, key);
  }
  expect_refused(Json::array(), "object");
}

TEST(ModelConfig, HeadsWhoseSizeFollowsFromOthersMustBeEvenToo) {
  Json json = plain();
  json["hidden_size"] = 28;
  expect_refused(json, "head_dim");
  json["hidden_size"] = 3;
  expect_refused(json, "head_dim");
}

TEST(ModelConfig, RotationMayStandInEitherPlaceButNotDiffer) {
  Json json = plain();
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  expect_refused(json, "rope_theta");
  json.erase("rope_theta");
  EXPECT_EQ(parse_config(json, "config.json").rope_theta, 5e5);
  json["rope_theta"] = 5e5;
  EXPECT_EQ(parse_config(json, "config.json").rope_theta, 5e5);
}

TEST(ModelConfig, RouterLayersAreListedOrAll) {
  const auto layers_of = [](const char* text) {
    Json json = with_memory();
    json["msa_config"]["router_layer_idx"] = text;
    return parse_config(json, "config.json").msa.router_layers;
  };
  using Layers = std::vector<int64_t>;
  EXPECT_EQ(layers_of("all"), (Layers{0, 1, 2, 3}));
  EXPECT_EQ(layers_of("1, 3"), (Layers{1, 3}));
  EXPECT_EQ(layers_of(" 2 ,"), (Layers{2}));
  EXPECT_TRUE(layers_of("").empty());
  for (const char* text : {"4", "3,1", "1,1", "1 2", "-1", "1;2", "99999999999999999999", "1.0"}) {
    Json json = with_memory();
    json["msa_config"]["router_layer_idx"] = text;
    expect_refused(json, "router_layer_idx");
  }
  Json json = with_memory();
  json["msa_config"]["router_layer_idx"] = "1,3";
  const ModelConfig config = parse_config(json, "config.json");
  EXPECT_EQ(config.router_slot(3), 1);
  EXPECT_EQ(config.router_slot(2), -1);
  EXPECT_EQ(config.memory_shape().num_layers, 2);
}

TEST(ModelConfig, EveryPartOfTheMemoryIsCheckedByItsKey) {
  const std::pair<const char*, Json> changes[] = {{"doc_top_k", 0},
                                                  {"top_k_docs", 5000},
                                                  {"pooling_kernel_size", 0},
                                                  {"decouple_router", "yes"},
                                                  {"head_reduce_method", "sum"},
                                                  {"query_reduce_method", "first"},
                                                  {"chunk_reduce_method", "last"},
                                                  {"decouple_pooling_mode", "max"},
                                                  {"answer_prompt_attention", "none"},
                                                  {"aux_loss_method", "MSE"},
                                                  {"router_layer_idx", 3}};
  for (const auto& [key, value] : changes) {
    Json json = with_memory();
    json["msa_config"][key] = value;
    expect_refused(json, key);
  }
}

TEST(ModelConfig, ChoicesOfTheMemoryAreRead) {
  Json json = with_memory();
  json["msa_config"] = {{"head_reduce_method", "max"},   {"query_reduce_method", "last"},
                        {"chunk_reduce_method", "mean"}, {"answer_prompt_attention", "full"},
                        {"pooling_kernel_size", 16},     {"top_k_docs", 5},
                        {"aux_loss_method", "BCE"}};
  const MsaConfig msa = parse_config(json, "config.json").msa;
  EXPECT_EQ(msa.rule.head, HeadReduce::kMax);
  EXPECT_EQ(msa.rule.query, QueryReduce::kLast);
  EXPECT_EQ(msa.rule.chunk, ChunkReduce::kMean);
  EXPECT_EQ(msa.answer_prompt_attention, AnswerPromptAttention::kFull);
  EXPECT_EQ(msa.chunk_tokens, 16);
  EXPECT_EQ(msa.top_k, 5);
  EXPECT_FALSE(msa.normalises_routing);
}

TEST(ModelConfig, ConventionsDifferInWhenRoutingVectorsHaveUnitLength) {
  for (const auto& [method, paper, published] :
       {std::tuple("INFONCE", true, true), {"INFONCE_FOCAL", true, false}, {"BCE", false, false}}) {
    Json json = with_memory();
    json["msa_config"]["aux_loss_method"] = method;
    EXPECT_EQ(parse_config(json, "config.json").msa.normalises_routing, paper) << method;
    const ConfigOptions options{.routing = RoutingConvention::kPublished};
    EXPECT_EQ(parse_config(json, "config.json", options).msa.normalises_routing, published);
  }
}

TEST(ModelConfig, TwoNumbersOfChosenDocumentsAreRefusedUnlessAllowed) {
  Json json = with_memory();
  json["msa_config"] = {{"doc_top_k", 4}, {"top_k_docs", 8}};
  expect_refused(json, "top_k_docs");
  EXPECT_EQ(parse_config(json, "config.json", {.allow_two_top_k = true}).msa.top_k, 4);
  EXPECT_EQ(parse_config(json, "config.json", {.msa_changes = Json{{"top_k_docs", 4}}}).msa.top_k,
            4);
}

TEST(ModelConfig, EndTokensOfBothFilesCountOnce) {
  const Folder folder;
  Json json = plain();
  json["eos_token_id"] = {7, 9, 7};
  folder.put("config.json", to_line(json));
  EXPECT_EQ(folder.load().end_tokens, (std::vector<int64_t>{7, 9}));
  folder.put("generation_config.json", R"({"eos_token_id": 5})");
  EXPECT_EQ(folder.load().end_tokens, (std::vector<int64_t>{7, 9, 5}));
  folder.put("generation_config.json", R"({"eos_token_id": [100]})");
  EXPECT_THROW(folder.load(), Error);
}

TEST(ModelConfig, ALongListOfEndTokensTakesNoLongTime) {
  Json list = Json::array();
  for (int token = 1'000'000; token < 1'120'000; ++token) list.push_back(token);
  Json json = plain();
  json["vocab_size"] = 1 << 24;
  json["eos_token_id"] = list;
  const Folder folder;
  folder.put("config.json", to_line(json));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(folder.load().end_tokens.size(), list.size());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

}  // namespace
}  // namespace msa::model
