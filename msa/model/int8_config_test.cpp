#include "msa/model/int8_config.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "msa/base/error.h"

namespace msa::model {
namespace {

/// As a public model has it.
Json of_another_writer() {
  return parse_json(R"({"config_groups": {"group_0": {"format": "int-quantized",
      "input_activations": null, "output_activations": null, "targets": ["Linear"],
      "weights": {"actorder": null, "block_structure": null, "dynamic": false, "group_size": null,
                  "num_bits": 8, "observer": "minmax", "observer_kwargs": {}, "strategy": "channel",
                  "symmetric": true, "type": "int"}}},
      "format": "int-quantized", "global_compression_ratio": 1.24, "ignore": ["lm_head"],
      "kv_cache_scheme": null, "quant_method": "compressed-tensors",
      "quantization_status": "compressed", "sparsity_config": {}, "transform_config": {},
      "version": "0.12.2"})",
                    "test");
}

TEST(Int8Config, OursAndThatOfOtherWritersAreTaken) {
  EXPECT_NO_THROW(expect_int8_config(int8_config(), "config.json"));
  Json other = of_another_writer();
  EXPECT_NO_THROW(expect_int8_config(other, "config.json"));
  other["config_groups"]["group_0"]["weights"]["group_size"] = -1;
  EXPECT_NO_THROW(expect_int8_config(other, "config.json"));
}

TEST(Int8Config, OtherFormsAreRefusedByKeyWithWhatWasWanted) {
  const auto expect_refusal = [](const char* pointer, const Json& value, const std::string& part) {
    Json json = of_another_writer();
    const Json::json_pointer place(pointer);
    json[place] = value;
    try {
      expect_int8_config(json, "model/config.json");
      ADD_FAILURE() << pointer << " = " << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      const std::string what = error.what();
      EXPECT_TRUE(what.starts_with("model/config.json quantization_config")) << what;
      EXPECT_NE(what.find(part), std::string::npos) << what;
    }
  };
  const std::string weights = "group_0 weights: ";
  expect_refusal("/quant_method", "gptq",
                 R"("quant_method" must be "compressed-tensors", got "gptq")");
  expect_refusal("/format", "pack-quantized",
                 R"("format" must be "int-quantized", got "pack-quantized")");
  expect_refusal("/quantization_status", "frozen", R"("quantization_status" must be "compressed")");
  expect_refusal("/quantization_status", nullptr, "got null");
  expect_refusal("/kv_cache_scheme", {{"num_bits", 8}}, R"("kv_cache_scheme" must be null)");
  expect_refusal("/sparsity_config", {{"format", "sparse-bitmask"}}, R"("sparsity_config")");
  expect_refusal("/transform_config", {{"config_groups", 1}}, R"("transform_config")");
  expect_refusal("/config_groups", Json::object(), R"("config_groups" must be an object, got {})");
  expect_refusal("/config_groups", {1, 2}, R"("config_groups" must be an object, got [1,2])");
  expect_refusal("/config_groups/group_1", {"Linear"}, R"("group_1" must be an object)");
  expect_refusal("/config_groups/group_0/format", "float-quantized",
                 R"(group_0: "format" must be "int-quantized")");
  expect_refusal("/config_groups/group_0/input_activations", {{"num_bits", 8}},
                 R"(group_0: "input_activations" must be null, got {"num_bits":8})");
  expect_refusal("/config_groups/group_0/output_activations", {{"num_bits", 8}},
                 R"(group_0: "output_activations" must be null)");
  expect_refusal("/config_groups/group_0/weights", nullptr,
                 R"(group_0: "weights" must be an object, got null)");
  const std::string group = "/config_groups/group_0/weights/";
  expect_refusal((group + "num_bits").c_str(), 4, weights + R"("num_bits" must be 8, got 4)");
  expect_refusal((group + "num_bits").c_str(), "8", weights + R"("num_bits" must be 8, got "8")");
  expect_refusal((group + "type").c_str(), "float", weights + R"("type" must be "int")");
  expect_refusal((group + "symmetric").c_str(), false, weights + R"("symmetric" must be true)");
  expect_refusal((group + "strategy").c_str(), "group",
                 weights + R"("strategy" must be "channel")");
  expect_refusal((group + "group_size").c_str(), 128, weights + R"("group_size" must be null)");
  expect_refusal((group + "block_structure").c_str(), {128, 128},
                 weights + R"("block_structure" must be null)");
  expect_refusal((group + "dynamic").c_str(), true, weights + R"("dynamic" must be null)");
  Json json = of_another_writer();
  json["config_groups"]["group_0"]["weights"].erase("symmetric");
  EXPECT_THROW(expect_int8_config(json, "x"), Error);
  for (const Json& none : {Json("int8"), Json::array(), Json::object(), Json(8)}) {
    EXPECT_THROW(expect_int8_config(none, "x"), Error) << none;
  }
}

}  // namespace
}  // namespace msa::model
