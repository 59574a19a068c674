// Model folders of int8 matrices: made, read, made into others, and refused.

#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/model/conversion.h"
#include "msa/model/folder_fixture.h"
#include "msa/model/int8_config.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/stored_weights.h"
#include "msa/model/weights.h"
#include "msa/storage/stored_values.h"

namespace msa::model {
namespace {

using storage::DataType;

const char* const kMatrix = "model.layers.1.self_attn.q_proj.weight";
const char* const kScale = "model.layers.1.self_attn.q_proj.weight_scale";

Json small_config() {
  return {{"model_type", "msa"},
          {"num_hidden_layers", 3},
          {"hidden_size", 16},
          {"intermediate_size", 24},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"vocab_size", 40},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", true},
          {"torch_dtype", "float32"},
          {"msa_config", {{"router_layer_idx", "1,2"}, {"pooling_kernel_size", 4}}}};
}

template <typename Value>
std::string bytes_of(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

template <typename Value>
std::vector<Value> values_of(const Tensor& tensor) {
  std::vector<Value> values(tensor.bytes.size() / sizeof(Value));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

class Int8Folder : public testing::Test {
 protected:
  Int8Folder() {
    std::filesystem::remove_all(parent_);
    std::filesystem::create_directories(parent_);
    constexpr uint32_t kSeed = 3;
    std::mt19937 random(kSeed);
    std::normal_distribution<float> normal;
    Tensors tensors;
    for (const auto& [name, shape] : parameter_shapes(parse_config(small_config(), "test"))) {
      int64_t count = 1;
      for (const int64_t side : shape) count *= side;
      std::vector<float> values(static_cast<size_t>(count));
      for (float& value : values) value = normal(random) * 0.1F;
      if (name == kMatrix) std::fill_n(values.begin(), 16, 0.0F);  // a row of zeros
      tensors[name] = {.type = DataType::kF32, .shape = shape, .bytes = bytes_of(values)};
    }
    write("plain", small_config(), tensors);
    convert("plain", "int8", DataType::kI8);
  }
  ~Int8Folder() override { std::filesystem::remove_all(parent_); }

  std::filesystem::path folder(const std::string& name) const { return parent_ / name; }

  void write(const std::string& name, const Json& config, const Tensors& tensors) const {
    std::filesystem::create_directories(folder(name));
    std::vector<storage::TensorToWrite> list;
    for (const auto& [tensor, value] : tensors) {
      list.push_back({tensor, value.type, value.shape, std::as_bytes(std::span(value.bytes))});
    }
    storage::write_safetensors(real_file_system(), folder(name) / "model.safetensors", list);
    std::ofstream(folder(name) / "config.json") << config.dump();
  }

  Conversion convert(const std::string& from, const std::string& to,
                     std::optional<DataType> type = {}, ModelForm form = ModelForm::kMsa) const {
    ConversionOptions options;
    options.from = folder(from);
    options.to = folder(to);
    options.type = type;
    options.form = form;
    options.max_shard_bytes = max_shard_bytes;
    return convert_model(real_file_system(), options);
  }

  Json config(const std::string& name) const {
    return load_config(real_file_system(), folder(name)).raw;
  }

  Weights load(const std::string& name, Precision precision = Precision::kFloat32) const {
    return load_weights(real_file_system(), folder(name),
                        load_config(real_file_system(), folder(name)), precision);
  }

  /// Expects a folder of the int8 one, changed so, to be refused by every reader.
  void expect_refusal(const std::function<void(Json&, Tensors&)>& change,
                      const std::vector<std::string>& parts) const {
    Json json = config("int8");
    Tensors tensors = read_tensors(folder("int8"));
    change(json, tensors);
    write("bad", json, tensors);
    for (const std::function<void()>& read :
         {std::function<void()>([&] { load("bad"); }),
          std::function<void()>([&] { convert("bad", "other", DataType::kF32); }),
          std::function<void()>([&] { convert("bad", "other"); })}) {
      try {
        read();
        ADD_FAILURE() << "read; wanted: " << parts[0];
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << error.what();
        for (const std::string& part : parts) {
          EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
              << error.what() << "\nwanted: " << part;
        }
      }
      EXPECT_FALSE(std::filesystem::exists(folder("other")));
      std::filesystem::remove_all(folder("other"));
    }
  }

  int64_t max_shard_bytes = kShardBytes;

 private:
  const std::filesystem::path parent_ =
      std::filesystem::path(testing::TempDir()) / ("msa_int8_" + std::to_string(getpid()));
};

void expect_same(const Weights& a, const Weights& b) {
  // What is stored in float32 and in bfloat16 may have the same values.
  EXPECT_TRUE(at::equal(a.embedding.to(at::kFloat), b.embedding.to(at::kFloat)));
  EXPECT_TRUE(at::equal(a.final_norm, b.final_norm));
  EXPECT_TRUE(at::equal(a.head, b.head));
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (const bool of_step : {false, true}) {
    for (size_t i = 0; i < a.layers.size(); ++i) {
      const LayerWeights& one = (of_step ? a.step.layers : a.layers)[i];
      const LayerWeights& other = (of_step ? b.step.layers : b.layers)[i];
      for (at::Tensor LayerWeights::*part :
           {&LayerWeights::input_norm, &LayerWeights::post_norm, &LayerWeights::q_norm,
            &LayerWeights::k_norm, &LayerWeights::input, &LayerWeights::output,
            &LayerWeights::gate_up, &LayerWeights::down}) {
        EXPECT_EQ((one.*part).scalar_type(), (other.*part).scalar_type());
        EXPECT_TRUE(at::equal(one.*part, other.*part)) << "layer " << i;
      }
    }
  }
}

TEST_F(Int8Folder, HoldsMatricesOfTheLayersWithOneScaleARowAndTheRestInBFloat16) {
  const Tensors plain = read_tensors(folder("plain"));
  Tensors made = read_tensors(folder("int8"));
  EXPECT_EQ(config("int8").at("quantization_config"), int8_config());
  EXPECT_EQ(config("int8").at("torch_dtype"), "bfloat16");
  for (const auto& [name, tensor] : plain) {
    const Tensor found = made.at(name);
    made.erase(name);
    EXPECT_EQ(found.shape, tensor.shape) << name;
    const auto values = values_of<float>(tensor);
    if (!name.starts_with("model.layers.") || tensor.shape.size() != 2) {
      EXPECT_EQ(found.type, DataType::kBF16) << name;
      const auto rounded = values_of<uint16_t>(found);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(rounded[i], to_bfloat16(values[i]).bits);
      }
      continue;
    }
    EXPECT_EQ(found.type, DataType::kI8) << name;
    const Tensor scale = made.at(name + "_scale");
    made.erase(name + "_scale");
    EXPECT_EQ(scale.type, DataType::kBF16) << name;
    EXPECT_EQ(scale.shape, (std::vector<int64_t>{tensor.shape[0], 1})) << name;
    const auto integers = values_of<int8_t>(found);
    const auto scales = values_of<uint16_t>(scale);
    const auto columns = static_cast<size_t>(tensor.shape[1]);
    for (size_t row = 0; row < scales.size(); ++row) {
      double largest = 0;
      for (size_t i = 0; i < columns; ++i) {
        largest = std::max(largest, std::fabs(double{values[row * columns + i]}));
      }
      const double unit = to_float(BFloat16{scales[row]});
      EXPECT_NEAR(unit, std::max(largest / 127, 0x1p-126), unit / 256) << name;
      for (size_t i = row * columns; i < (row + 1) * columns; ++i) {
        ASSERT_EQ(integers[i], std::nearbyint(values[i] / unit)) << name;
        ASSERT_LE(std::fabs(values[i] - integers[i] * unit), unit / 2) << name;
      }
    }
  }
  EXPECT_TRUE(made.empty()) << made.begin()->first;
}

TEST_F(Int8Folder, IsReadAsTheFolderOfItsProducts) {
  EXPECT_EQ(convert("int8", "wide", DataType::kF32).types, "F32");
  for (const Precision precision : {Precision::kFloat32, Precision::kBFloat16}) {
    const Weights read = load("int8", precision);
    const Weights wide = load("wide", precision);
    EXPECT_EQ(read.num_parameters, wide.num_parameters);
    ASSERT_EQ(read.layers.size(), 3U);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(at::equal(read.layers[i].input, wide.layers[i].input));
      EXPECT_TRUE(at::equal(read.layers[i].gate_up, wide.layers[i].gate_up));
    }
    if (precision == Precision::kFloat32) expect_same(read, wide);
  }
}

TEST_F(Int8Folder, InBFloat16IsTheFolderConvertedToBFloat16) {
  EXPECT_EQ(convert("int8", "narrow", DataType::kBF16).types, "BF16");
  EXPECT_FALSE(config("narrow").contains("quantization_config"));
  expect_same(load("int8", Precision::kBFloat16), load("narrow", Precision::kBFloat16));
}

TEST_F(Int8Folder, OfItsProductsIsTheSameFolderAgain) {
  convert("int8", "wide", DataType::kF32);
  convert("wide", "again", DataType::kI8);
  EXPECT_TRUE(read_tensors(folder("again")) == read_tensors(folder("int8")));
  EXPECT_EQ(config("again"), config("int8"));
}

TEST_F(Int8Folder, MadeDeeperItIsInt8AsAnyOther) {
  for (const auto type : {std::optional<DataType>(), std::optional(DataType::kI8)}) {
    ConversionOptions options;
    options.from = folder(type ? "plain" : "int8");  // zeros of float32 rows, and of int8 ones
    options.to = folder("deeper");
    options.type = type;
    options.expand_every = 1;
    convert_model(real_file_system(), options);
    convert("deeper", "wide", DataType::kF32);
    convert("wide", "again", DataType::kI8);
    const Tensors deeper = read_tensors(folder("deeper"));
    EXPECT_TRUE(read_tensors(folder("again")) == deeper);
    const Tensor zeros = deeper.at("model.layers.1.mlp.down_proj.weight");
    EXPECT_EQ(zeros.bytes, std::string(zeros.bytes.size(), '\0'));
    const Tensor copied = deeper.at("model.layers.1.mlp.up_proj.weight");
    EXPECT_EQ(copied.bytes, deeper.at("model.layers.0.mlp.up_proj.weight").bytes);
    for (const char* name : {"deeper", "wide", "again"}) std::filesystem::remove_all(folder(name));
  }
}

TEST_F(Int8Folder, KeepsItsNumbersWhereNoOthersAreAskedFor) {
  max_shard_bytes = 2000;  // scales and matrices in different files
  EXPECT_GT(convert("int8", "copy").num_files, 5);
  EXPECT_EQ(convert("copy", "whole", DataType::kI8).types, "BF16, I8");
  for (const char* name : {"copy", "whole"}) {
    EXPECT_TRUE(read_tensors(folder(name)) == read_tensors(folder("int8"))) << name;
    EXPECT_EQ(config(name), config("int8")) << name;
  }
  EXPECT_EQ(load("copy").fingerprint, load("int8").fingerprint);
}

TEST_F(Int8Folder, ScalesOfOtherWritersStayAsTheyAre) {
  Json json = config("int8");
  Tensors tensors = read_tensors(folder("int8"));
  std::vector<float> scales(32, 0x1.23456p-9F);
  scales[4] = 0;
  tensors.at(kScale) = {.type = DataType::kF32, .shape = {32, 1}, .bytes = bytes_of(scales)};
  tensors.at(kMatrix).bytes[0] = '\x80';  // -128
  write("other", json, tensors);
  convert("other", "copy", DataType::kI8);
  EXPECT_TRUE(read_tensors(folder("copy")) == tensors);
  convert("other", "wide", DataType::kF32);
  expect_same(load("other"), load("wide"));
  const auto wide = values_of<float>(read_tensors(folder("wide")).at(kMatrix));
  const auto integers = values_of<int8_t>(tensors.at(kMatrix));
  for (size_t i = 0; i < wide.size(); ++i) {
    ASSERT_EQ(wide[i], static_cast<float>(double{scales[i / 16]} * integers[i]));
  }
}

TEST_F(Int8Folder, LosesItsRoutersAndGetsFreshOnesThatCopyItsKeys) {
  convert("int8", "qwen3", {}, ModelForm::kQwen3);
  EXPECT_EQ(config("qwen3").at("model_type"), "qwen3");
  EXPECT_EQ(config("qwen3").at("quantization_config"), int8_config());
  const Tensors plain = read_tensors(folder("qwen3"));
  EXPECT_EQ(plain.count(router_k_name(1) + "_scale"), 0U);
  EXPECT_EQ(convert("qwen3", "fresh").types, "BF16, I8");
  Tensors fresh = read_tensors(folder("fresh"));
  const std::string key = attention_k_name(2);
  EXPECT_TRUE(fresh.at(router_k_name(2)) == fresh.at(key));
  EXPECT_TRUE(fresh.at(router_k_name(2) + "_scale") == fresh.at(key + "_scale"));
  const Tensor& query = fresh.at(router_q_name(2) + "_scale");
  EXPECT_EQ(query.shape, (std::vector<int64_t>{32, 1}));
  EXPECT_EQ(query.bytes.substr(16, 16), fresh.at(key + "_scale").bytes.substr(0, 16));
  load("fresh");
  // Routers that are made on the way to int8 are rounded as the keys that they copy.
  convert("int8", "wide", DataType::kF32, ModelForm::kQwen3);
  convert("wide", "rounded", DataType::kI8);
  Tensors rounded = read_tensors(folder("rounded"));
  rounded.erase("temperature");  // made in the type of the rest
  fresh.erase("temperature");
  EXPECT_TRUE(rounded == fresh);
}

TEST_F(Int8Folder, ThatCompressedTensorsWroteHoldsWhatItMakesOfIt) {
  std::filesystem::copy(source_folder() / "tests/data/model_int8", folder("theirs"));
  convert("theirs", "narrow", DataType::kBF16, ModelForm::kQwen3);
  const Tensors found = read_tensors(folder("narrow"));
  std::filesystem::rename(folder("theirs") / "decompressed.safetensors",
                          folder("theirs") / "model.safetensors");
  EXPECT_TRUE(found == read_tensors(folder("theirs")));
  EXPECT_EQ(found.size(), 2 * 11 + 2U);
}

TEST_F(Int8Folder, TellsModelsApartByIntegersAndScales) {
  const std::string first = load("int8").fingerprint;
  EXPECT_NE(first, load("plain").fingerprint);
  for (const char* name : {kMatrix, kScale}) {
    Tensors tensors = read_tensors(folder("int8"));
    tensors.at(name).bytes[40] ^= 1;
    write("changed", config("int8"), tensors);
    EXPECT_NE(load("changed").fingerprint, first) << name;
  }
}

TEST_F(Int8Folder, TheCardSaysWhatIsInt8) {
  const std::string card = read_file(real_file_system(), folder("int8") / "README.md", 10000);
  EXPECT_NE(card.find(" in BF16, I8 |\n| rounded to int8 | "), std::string::npos) << card;
  EXPECT_NE(card.find("| 9,600 parameters, with one scale a row"), std::string::npos) << card;
}

TEST_F(Int8Folder, WhatInt8CannotHoldIsRefused) {
  Tensors tensors = read_tensors(folder("plain"));
  const std::string good = tensors.at(kMatrix).bytes;
  for (const float value : {INFINITY, NAN}) {
    tensors.at(kMatrix).bytes = bytes_of(std::vector<float>(512, value));
    write("bad", small_config(), tensors);
    try {
      convert("bad", "other", DataType::kI8);
      ADD_FAILURE() << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_NE(std::string(error.what())
                    .find(std::string(kMatrix) + "\" holds a value that is not finite"),
                std::string::npos)
          << error.what();
    }
    EXPECT_FALSE(std::filesystem::exists(folder("other")));
  }
}

TEST_F(Int8Folder, ScalesThatDoNotFitAreRefusedByName) {
  const std::string file = folder("bad") / "model.safetensors";
  expect_refusal([](Json&, Tensors& t) { t.erase(kScale); },
                 {file, kMatrix, "its scales \"" + std::string(kScale) + "\" are missing"});
  expect_refusal([](Json&, Tensors& t) { t.at(kScale).shape = {32}; },
                 {file, kScale, "must have the shape [32, 1], one scale a row, got [32]"});
  expect_refusal([](Json&, Tensors& t) { t.at(kScale).type = DataType::kI16; },
                 {file, kScale, "must be F32, BF16 or F16, got I16"});
  const auto with_scale = [](float value) {
    return [value](Json&, Tensors& t) {
      const uint16_t bits = to_bfloat16(value).bits;
      std::memcpy(t.at(kScale).bytes.data() + 6, &bits, 2);
    };
  };
  expect_refusal(with_scale(-1), {file, kScale, "holds a scale that is negative"});
  expect_refusal(with_scale(INFINITY), {file, kScale, "holds a value that is not finite"});
  expect_refusal(with_scale(NAN), {file, kScale, "holds a value that is not finite"});
}

TEST_F(Int8Folder, Int8WhereItDoesNotBelongIsRefused) {
  const std::string file = folder("bad") / "model.safetensors";
  expect_refusal([](Json& json, Tensors&) { json.erase("quantization_config"); },
                 {file, "is I8, and config.json has no quantization_config"});
  expect_refusal(
      [](Json&, Tensors& t) {
        t.at("model.norm.weight") = {
            .type = DataType::kI8, .shape = {16}, .bytes = std::string(16, 1)};
      },
      {file, "model.norm.weight", "must be F32, BF16 or F16, got I8"});
  expect_refusal(
      [](Json&, Tensors& t) {
        t["model.norm.weight_scale"] = {.type = DataType::kF32, .shape = {1}, .bytes = "1234"};
      },
      {"model.norm.weight_scale", "belongs to no layer"});
  // No forward pass reads a scalar of the loss; what is made of the folder would hold it.
  Tensors tensors = read_tensors(folder("int8"));
  for (const char* name : {"temperature", "b"}) {
    tensors[name] = {.type = DataType::kI8, .shape = {}, .bytes = "1"};
    write("scalar", config("int8"), tensors);
    EXPECT_NO_THROW(load("scalar"));
    EXPECT_THROW(convert("scalar", "other"), Error) << name;
    tensors.erase(name);
  }
}

}  // namespace
}  // namespace msa::model
