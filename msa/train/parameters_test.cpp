#include "msa/train/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>

#include "msa/base/error.h"
#include "msa/model/conversion.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/transformer.h"
#include "msa/storage/safetensors.h"
#include "msa/train/model_folder.h"
#include "msa/train/small_config.h"
#include "msa/train/stored_tensor.h"

namespace msa::train {
namespace {

class ParametersTest : public testing::Test {
 protected:
  ParametersTest() {
    std::filesystem::remove_all(parent_);
    std::filesystem::create_directories(parent_);
  }
  ~ParametersTest() override { std::filesystem::remove_all(parent_); }

  std::filesystem::path folder(const char* name = "model") const { return parent_ / name; }

  /// A folder with these tensors and nothing else.
  std::filesystem::path write(const std::vector<NamedTensor>& tensors) const {
    std::filesystem::create_directories(folder("given"));
    std::vector<storage::TensorToWrite> list;
    for (const NamedTensor& tensor : tensors) list.push_back(to_write(tensor));
    storage::write_safetensors(real_file_system(), folder("given") / "model.safetensors", list);
    return folder("given");
  }

  /// As they would be stored, each on its own.
  static std::vector<NamedTensor> stored(const Parameters& parameters) {
    std::vector<NamedTensor> tensors;
    for (const NamedTensor& parameter : parameters.all()) {
      tensors.push_back({parameter.name, parameter.tensor.detach().clone()});
    }
    return tensors;
  }

 private:
  const std::filesystem::path parent_ =
      std::filesystem::path(testing::TempDir()) / ("msa_parameters_" + std::to_string(getpid()));
};

Parameters load(const std::filesystem::path& folder, const model::ModelConfig& config) {
  return Parameters::load(real_file_system(), folder, config);
}

std::string message_of(const std::function<void()>& action, ErrorCode code) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

bool are_tied(const Parameters& parameters, const std::string& layer) {
  const at::Tensor key = parameters[layer + ".self_attn.router_k_proj.0.weight"];
  const at::Tensor query = parameters[layer + ".self_attn.router_q_proj.0.weight"];
  bool tied = true;
  for (int64_t h = 0; h < 4; ++h) {
    tied &= at::equal(query.slice(0, 8 * h, 8 * h + 8), key.slice(0, h / 2 * 8, h / 2 * 8 + 8));
  }
  return tied;
}

TEST_F(ParametersTest, AreFloat32LeavesOfTheNamesAndShapesOfTheConfig) {
  const Parameters parameters = Parameters::random(small_config(), 1);
  std::set<std::string> names;
  for (const NamedTensor& parameter : parameters.all()) {
    EXPECT_TRUE(names.insert(parameter.name).second);
    EXPECT_EQ(parameter.tensor.scalar_type(), at::kFloat);
    EXPECT_TRUE(parameter.tensor.is_leaf() && parameter.tensor.requires_grad());
  }
  EXPECT_EQ(names.size(), 3 * 11 + 2 * 2 + 2 + 1U);
  EXPECT_EQ(parameters["model.layers.1.self_attn.router_q_proj.0.weight"].sizes(),
            (std::vector<int64_t>{32, 16}));
  EXPECT_EQ(parameters["model.layers.0.mlp.down_proj.weight"].sizes(),
            (std::vector<int64_t>{16, 24}));
  EXPECT_FALSE(parameters.has("model.layers.0.self_attn.router_q_proj.0.weight"));
  EXPECT_FALSE(parameters.has("lm_head.weight") || parameters.has("b"));
  EXPECT_THROW(parameters["model.layers.3.input_layernorm.weight"], Error);
  EXPECT_FLOAT_EQ(parameters["temperature"].item<float>(), 0.1F);
  const Parameters bce = Parameters::random(
      small_config({{"tie_word_embeddings", false},
                    {"msa_config", {{"aux_loss_method", "BCE"}, {"infonce_loss_temp", 0.05}}}}),
      1);
  EXPECT_EQ(bce["b"].item<float>(), -20);
  EXPECT_FLOAT_EQ(bce["temperature"].item<float>(), 0.05F);
  EXPECT_EQ(bce["lm_head.weight"].sizes(), (std::vector<int64_t>{40, 16}));
}

TEST_F(ParametersTest, RandomOnesHaveTheirDeviationsAndDoNotFollowEachOther) {
  const Parameters parameters = Parameters::random(
      small_config({{"vocab_size", 500}, {"hidden_size", 200}, {"intermediate_size", 300}}), 7);
  const auto deviation = [&](const std::string& name) {
    return parameters[name].std().item<double>();
  };
  EXPECT_NEAR(deviation("model.embed_tokens.weight"), 0.02, 0.0002);
  EXPECT_NEAR(deviation("model.layers.0.mlp.up_proj.weight"), std::pow(200, -0.5), 0.0008);
  EXPECT_NEAR(deviation("model.layers.0.mlp.down_proj.weight"), 0.5 * std::pow(300, -0.5), 0.0005);
  EXPECT_NEAR(deviation("model.layers.2.self_attn.o_proj.weight"), 0.5 * std::pow(32, -0.5), 0.002);
  EXPECT_TRUE(at::equal(parameters["model.norm.weight"].detach(), at::ones({200})));
  const at::Tensor embedding = parameters["model.embed_tokens.weight"].detach() / 0.02;
  EXPECT_NEAR(embedding.mean().item<double>(), 0, 0.01);
  EXPECT_NEAR(embedding.pow(4).mean().item<double>(), 3 - 0.1, 0.08) << "of twelve summands";
  const at::Tensor up = parameters["model.layers.0.mlp.up_proj.weight"].detach().flatten();
  const at::Tensor gate = parameters["model.layers.0.mlp.gate_proj.weight"].detach().flatten();
  const at::Tensor other = parameters["model.layers.1.mlp.up_proj.weight"].detach().flatten();
  EXPECT_LT(std::abs((up * gate).mean().item<double>()), 0.02 * up.var().item<double>());
  EXPECT_LT(std::abs((up * other).mean().item<double>()), 0.02 * up.var().item<double>());
  EXPECT_LT(std::abs((up * up.roll(1)).mean().item<double>()), 0.02 * up.var().item<double>());
  EXPECT_LT(std::abs((up * up.roll(200)).mean().item<double>()), 0.02 * up.var().item<double>());
}

TEST_F(ParametersTest, RandomOnesFollowFromTheSeedOnEveryMachine) {
  const Parameters first = Parameters::random(small_config(), 3);
  const Parameters same = Parameters::random(small_config(), 3);
  const Parameters other = Parameters::random(small_config(), 4);
  for (size_t i = 0; i < first.all().size(); ++i) {
    const at::Tensor& tensor = first.all()[i].tensor;
    EXPECT_TRUE(at::equal(tensor, same.all()[i].tensor));
    EXPECT_EQ(at::equal(tensor, other.all()[i].tensor), tensor.dim() < 2);
  }
  // Numbers of 2^-16, exactly.
  const at::Tensor steps = first["model.layers.0.self_attn.q_proj.weight"].detach() * 4 * 65536;
  EXPECT_TRUE(at::equal(steps, steps.round()));
  EXPECT_EQ(steps[0][0].item<float>(), -23212);
  EXPECT_EQ(steps[31][15].item<float>(), 53625);
}

TEST_F(ParametersTest, RoutersBeginTiedAndCanBeTiedAgain) {
  Parameters parameters = Parameters::random(small_config(), 5);
  EXPECT_TRUE(are_tied(parameters, "model.layers.1") && are_tied(parameters, "model.layers.2"));
  const std::string layer = "model.layers.2";
  const at::Tensor key = parameters[layer + ".self_attn.router_k_proj.0.weight"];
  EXPECT_FALSE(at::equal(key, parameters[layer + ".self_attn.k_proj.weight"]));
  key.detach().fill_(0.5);
  EXPECT_FALSE(are_tied(parameters, layer));
  parameters.tie_routers();
  EXPECT_TRUE(are_tied(parameters, layer));
  EXPECT_EQ(parameters[layer + ".self_attn.router_q_proj.0.weight"].max().item<float>(), 0.5F);
  parameters.tie_routers(true);
  EXPECT_TRUE(are_tied(parameters, layer));
  EXPECT_TRUE(at::equal(key, parameters[layer + ".self_attn.k_proj.weight"]));
  EXPECT_TRUE(key.requires_grad());
}

TEST_F(ParametersTest, RoutersDrawnAnewAreNotTiedAndNothingElseChanges) {
  Parameters parameters = Parameters::random(small_config(), 5);
  const Parameters before = Parameters::random(small_config(), 5);
  parameters.draw_routers(7);
  int64_t drawn = 0;
  for (size_t i = 0; i < parameters.all().size(); ++i) {
    const NamedTensor& parameter = parameters.all()[i];
    const bool is_drawn = model::is_router_parameter(parameter.name) && parameter.tensor.dim() == 2;
    EXPECT_EQ(at::equal(parameter.tensor, before.all()[i].tensor), !is_drawn) << parameter.name;
    EXPECT_TRUE(parameter.tensor.requires_grad());
    drawn += is_drawn ? 1 : 0;
  }
  EXPECT_EQ(drawn, 4);
  EXPECT_FALSE(are_tied(parameters, "model.layers.1") || are_tied(parameters, "model.layers.2"));
  Parameters again = Parameters::random(small_config(), 5);
  again.draw_routers(7);
  const std::string name = "model.layers.2.self_attn.router_q_proj.0.weight";
  EXPECT_TRUE(at::equal(parameters[name], again[name]));
}

TEST_F(ParametersTest, AFolderThatIsWrittenLoadsAndIsTheSameModel) {
  for (const bool is_tied : {true, false}) {
    for (const Numbers numbers : {Numbers::kFloat32, Numbers::kBFloat16}) {
      for (const int64_t shard_bytes : {int64_t{1} << 30, int64_t{3000}}) {
        std::filesystem::remove_all(folder());
        const auto config = small_config({{"tie_word_embeddings", is_tied}});
        const Parameters parameters = Parameters::random(config, 6);
        write_model_folder(real_file_system(), folder(), parameters,
                           {.numbers = numbers, .tokenizer = {}, .max_shard_bytes = shard_bytes});
        const bool is_whole = std::filesystem::exists(folder() / "model.safetensors");
        EXPECT_EQ(is_whole, shard_bytes > 3000);
        const auto again = load(folder(), model::load_config(real_file_system(), folder()));
        ASSERT_EQ(again.all().size(), parameters.all().size());
        for (const NamedTensor& parameter : parameters.all()) {
          at::Tensor want = parameter.tensor.detach();
          if (numbers == Numbers::kBFloat16) want = want.to(at::kBFloat16).to(at::kFloat);
          EXPECT_TRUE(at::equal(again[parameter.name].detach(), want)) << parameter.name;
        }
        const auto transformer = model::Transformer::load(real_file_system(), folder());
        EXPECT_EQ(transformer->weights().num_parameters, parameters.num_values() - 1)
            << "all but the temperature";
        EXPECT_TRUE(at::equal(transformer->weights().layers[0].output.to(at::kFloat),
                              again["model.layers.0.self_attn.o_proj.weight"].detach()));
        EXPECT_EQ(transformer->config().raw.at("unknown_key"), "stays");
        EXPECT_EQ(transformer->config().raw.at("torch_dtype"),
                  numbers == Numbers::kFloat32 ? "float32" : "bfloat16");
      }
    }
  }
}

TEST_F(ParametersTest, AFolderOfInt8IsLearnedFromAsItsProductsAndNotWrittenAsSuch) {
  write_model_folder(real_file_system(), folder("plain"), Parameters::random(small_config(), 6));
  const auto convert = [&](const char* from, const char* to, storage::DataType type) {
    model::ConversionOptions options;
    options.from = folder(from);
    options.to = folder(to);
    options.type = type;
    model::convert_model(real_file_system(), options);
  };
  convert("plain", "int8", storage::DataType::kI8);
  convert("int8", "wide", storage::DataType::kF32);
  const auto load_from = [&](const char* name) {
    return load(folder(name), model::load_config(real_file_system(), folder(name)));
  };
  const Parameters wide = load_from("wide");
  const Parameters read = load_from("int8");
  ASSERT_EQ(read.all().size(), wide.all().size());
  for (const NamedTensor& parameter : wide.all()) {
    EXPECT_TRUE(at::equal(read[parameter.name], parameter.tensor)) << parameter.name;
  }
  write_model_folder(real_file_system(), folder("learned"), read);
  const auto config = model::load_config(real_file_system(), folder("learned"));
  EXPECT_FALSE(config.has_int8_matrices);
  EXPECT_FALSE(config.raw.contains("quantization_config"));
}

TEST_F(ParametersTest, AModelFolderTakesTokenizerFilesAlongAndNeverAnothersName) {
  std::filesystem::create_directories(folder("tokenizer"));
  std::ofstream(folder("tokenizer") / "tokenizer.json") << "{\"a\": 1}";
  std::ofstream(folder("tokenizer") / "generation_config.json") << "{\"eos_token_id\": 3}";
  std::ofstream(folder("tokenizer") / "model.safetensors") << "not this";
  const Parameters parameters = Parameters::random(small_config(), 6);
  const ModelFolderOptions options{.numbers = Numbers::kFloat32,
                                   .tokenizer = folder("tokenizer"),
                                   .max_shard_bytes = int64_t{1} << 30};
  write_model_folder(real_file_system(), folder(), parameters, options);
  EXPECT_EQ(read_file(real_file_system(), folder() / "tokenizer.json", 100), "{\"a\": 1}");
  EXPECT_EQ(model::load_config(real_file_system(), folder()).end_tokens,
            (std::vector<int64_t>{2, 3}));
  message_of([&] { write_model_folder(real_file_system(), folder(), parameters, options); },
             ErrorCode::kInvalidArgument);
  parameters["model.norm.weight"].detach().fill_(std::nanf(""));
  const std::string message = message_of(
      [&] { write_model_folder(real_file_system(), folder("other"), parameters, options); },
      ErrorCode::kInternal);
  EXPECT_NE(message.find("model.norm.weight"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder("other")));
}

TEST_F(ParametersTest, RefusesAFolderThatDoesNotFitAndNamesTheTensor) {
  const auto config = small_config();
  const Parameters parameters = Parameters::random(config, 8);
  using Change = std::function<void(std::vector<NamedTensor>&)>;
  const std::vector<std::pair<std::string, Change>> changes{
      {"\"model.embed_tokens.weight\" is missing", [](auto& t) { t.erase(t.begin()); }},
      {"must have the shape [40, 16]",
       [](auto& t) {
         t[0].tensor = at::zeros({16, 40});
       }},
      {"must be F32, BF16 or F16", [](auto& t) { t[0].tensor = t[0].tensor.to(at::kDouble); }},
      {"not finite", [](auto& t) { t[1].tensor[3].fill_(std::nanf("")); }},
      {"\"extra\" belongs to no layer", [](auto& t) {
         t.push_back({"extra", at::zeros({1})});
       }}};
  for (const auto& [part, change] : changes) {
    std::vector<NamedTensor> tensors = stored(parameters);
    change(tensors);
    const std::string message =
        message_of([&] { load(write(tensors), config); }, ErrorCode::kInvalidFormat);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

TEST_F(ParametersTest, AScalarMayBeAbsentOrAVectorOfOne) {
  const auto config = small_config({{"msa_config", {{"infonce_loss_temp", 0.07}}}});
  std::vector<NamedTensor> tensors = stored(Parameters::random(config, 8));
  ASSERT_EQ(tensors.back().name, "temperature");
  tensors.back().tensor = at::full({1}, 0.25F);
  EXPECT_EQ(load(write(tensors), config)["temperature"].item<float>(), 0.25F);
  tensors.pop_back();
  EXPECT_FLOAT_EQ(load(write(tensors), config)["temperature"].item<float>(), 0.07F);
}

TEST_F(ParametersTest, CopiesValuesOfTheSameModelOnly) {
  Parameters parameters = Parameters::random(small_config(), 10);
  const at::Tensor embedding = parameters["model.embed_tokens.weight"];
  parameters.copy_from(stored(Parameters::random(small_config(), 11)));
  EXPECT_TRUE(at::equal(embedding, Parameters::random(small_config(), 11).all()[0].tensor));
  std::vector<NamedTensor> values = stored(Parameters::random(small_config(), 12));
  values[1].name = values[0].name;
  message_of([&] { parameters.copy_from(values); }, ErrorCode::kMismatch);
  values = stored(Parameters::random(small_config(), 12));
  values[5].tensor = at::zeros({2});
  message_of([&] { parameters.copy_from(values); }, ErrorCode::kMismatch);
  values.pop_back();
  message_of([&] { parameters.copy_from(values); }, ErrorCode::kMismatch);
  EXPECT_TRUE(at::equal(embedding, Parameters::random(small_config(), 11).all()[0].tensor));
}

TEST_F(ParametersTest, RoutersCanLearnAlone) {
  Parameters parameters = Parameters::random(small_config(), 10);
  parameters.train_routers_alone(true);
  int trained = 0;
  for (const NamedTensor& parameter : parameters.all()) {
    trained += parameter.tensor.requires_grad() ? 1 : 0;
  }
  EXPECT_EQ(trained, 2 * 2 + 1);
  parameters.move_to(at::kCPU);
  EXPECT_FALSE(parameters["model.norm.weight"].requires_grad());
  parameters.train_routers_alone(false);
  EXPECT_TRUE(parameters["model.norm.weight"].requires_grad());
}

TEST_F(ParametersTest, TheTemperatureStaysInItsRange) {
  Parameters parameters = Parameters::random(small_config(), 10);
  for (const auto& [value, want] : {std::pair{-1.0F, 0.001F}, {0.2F, 0.2F}, {3.0F, 0.5F}}) {
    parameters["temperature"].detach().fill_(value);
    parameters.clamp_temperature();
    EXPECT_FLOAT_EQ(parameters["temperature"].item<float>(), want);
  }
}

}  // namespace
}  // namespace msa::train
