#include "msa/model/conversion.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <set>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/base/losing_file_system.h"
#include "msa/base/observed_file_system.h"
#include "msa/model/folder_fixture.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/transformer.h"
#include "msa/storage/tensor_files.h"

namespace msa::model {
namespace {

using storage::DataType;

Json plain_config() {
  return {{"model_type", "qwen3"},     {"architectures", {"Qwen3ForCausalLM"}},
          {"num_hidden_layers", 5},    {"hidden_size", 16},
          {"intermediate_size", 24},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2},  {"head_dim", 8},
          {"vocab_size", 40},          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},     {"tie_word_embeddings", true},
          {"torch_dtype", "bfloat16"}, {"unknown_key", "stays"}};
}

/// Finite bfloat16 numbers drawn at random.
Tensor random_tensor(const std::vector<int64_t>& shape, std::mt19937& random) {
  Tensor tensor{.type = DataType::kBF16, .shape = shape, .bytes = {}};
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = static_cast<uint16_t>(random() & 0xbfff);
    tensor.bytes += {static_cast<char>(bits & 0xff), static_cast<char>(bits >> 8)};
  }
  return tensor;
}

std::set<std::string> names_in(const std::filesystem::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

class ConversionTest : public testing::Test {
 protected:
  ConversionTest() {
    std::filesystem::remove_all(parent_);
    std::filesystem::create_directories(parent_);
    std::mt19937 random(5);
    for (const auto& [name, shape] : parameter_shapes(parse_config(config, "test"))) {
      tensors[name] = random_tensor(shape, random);
    }
  }
  ~ConversionTest() override { std::filesystem::remove_all(parent_); }

  std::filesystem::path folder(const char* name) const { return parent_ / name; }

  void write_text(const char* name, const std::string& text) const {
    std::ofstream(folder(name), std::ios::binary) << text;
  }

  /// Writes `config` and `tensors` with a tokenizer as the folder "plain".
  void write_plain() const {
    std::filesystem::create_directories(folder("plain"));
    std::vector<storage::TensorToWrite> list;
    for (const auto& [name, tensor] : tensors) {
      list.push_back({.name = name,
                      .type = tensor.type,
                      .shape = tensor.shape,
                      .bytes = std::as_bytes(std::span(tensor.bytes))});
    }
    storage::write_safetensors(real_file_system(), folder("plain/model.safetensors"), list);
    write_text("plain/config.json", config.dump());
    write_text("plain/tokenizer.json", "{\"a\": 1}");
    write_text("plain/generation_config.json", "{\"eos_token_id\": 3}");
    write_text("plain/README.md", "of another model");
  }

  ConversionOptions options(const char* from, const char* to) const {
    ConversionOptions result;
    result.from = folder(from);
    result.to = folder(to);
    return result;
  }

  static Conversion convert(const ConversionOptions& options) {
    return convert_model(real_file_system(), options);
  }

  /// Expects the conversion to fail so, and nothing of it to stay.
  void expect_refusal(const ConversionOptions& options, ErrorCode code, const std::string& part) {
    const auto before = names_in(parent_);
    try {
      convert(options);
      ADD_FAILURE() << "converted; wanted: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
    EXPECT_EQ(names_in(parent_), before) << part;
  }

  Json config = plain_config();
  Tensors tensors;

 private:
  const std::filesystem::path parent_ =
      std::filesystem::path(testing::TempDir()) / ("msa_conversion_" + std::to_string(getpid()));
};

TEST_F(ConversionTest, APlainModelGetsRoutersThatAreCopiesOfItsKeys) {
  write_plain();
  const Conversion made = convert(options("plain", "msa"));
  EXPECT_TRUE(made.has_fresh_routers);
  EXPECT_EQ(made.num_files, 1);
  EXPECT_EQ(made.types, "BF16");
  EXPECT_EQ(names_in(folder("msa")),
            (std::set<std::string>{"README.md", "config.json", "generation_config.json",
                                   "model.safetensors", "tokenizer.json"}));
  const ModelConfig read = load_config(real_file_system(), folder("msa"));
  EXPECT_EQ(read.msa.router_layers, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(read.msa.chunk_tokens, 64);
  EXPECT_EQ(read.msa.top_k, 16);
  EXPECT_TRUE(read.msa.has_own_router && read.msa.normalises_routing);
  EXPECT_EQ(read.end_tokens, std::vector<int64_t>{3});
  EXPECT_EQ(read.raw.at("model_type"), "msa");
  EXPECT_EQ(read.raw.at("architectures"), Json::array({"MSAForCausalLM"}));
  EXPECT_EQ(read.raw.at("unknown_key"), "stays");
  EXPECT_EQ(read.raw.at("msa_config").at("doc_top_k"), read.raw.at("msa_config").at("top_k_docs"));

  Tensors found = read_tensors(folder("msa"));
  const float temperature = 0.1F;
  EXPECT_TRUE(found.at("temperature") ==
              (Tensor{.type = DataType::kF32,
                      .shape = {},
                      .bytes = std::string(reinterpret_cast<const char*>(&temperature), 4)}));
  found.erase("temperature");
  for (int64_t layer = 2; layer < 5; ++layer) {
    const Tensor& key = tensors.at(attention_k_name(layer));
    EXPECT_TRUE(found.at(router_k_name(layer)) == key);
    const Tensor& query = found.at(router_q_name(layer));
    EXPECT_EQ(query.shape, (std::vector<int64_t>{32, 16}));
    const size_t head_bytes = size_t{8} * 16 * 2;
    for (size_t head = 0; head < 4; ++head) {
      EXPECT_EQ(query.bytes.substr(head * head_bytes, head_bytes),
                key.bytes.substr(head / 2 * head_bytes, head_bytes));
    }
    found.erase(router_k_name(layer));
    found.erase(router_q_name(layer));
  }
  EXPECT_TRUE(found == tensors);
}

TEST_F(ConversionTest, RoutersAreWhereAndAsTheyAreAskedFor) {
  write_plain();
  auto wanted = options("plain", "msa");
  wanted.routers = FreshRouters{.layers = {0, 3}, .chunk_tokens = 16, .top_k = 5};
  convert(wanted);
  const ModelConfig read = load_config(real_file_system(), folder("msa"));
  EXPECT_EQ(read.msa.router_layers, (std::vector<int64_t>{0, 3}));
  EXPECT_EQ(read.msa.chunk_tokens, 16);
  EXPECT_EQ(read.msa.top_k, 5);
  EXPECT_EQ(read_tensors(folder("msa")).count(router_q_name(0)), 1U);
  EXPECT_EQ(read_tensors(folder("msa")).count(router_q_name(4)), 0U);
}

TEST_F(ConversionTest, WithoutItsRoutersItIsThePlainModelAgain) {
  write_plain();
  convert(options("plain", "msa"));
  auto back = options("msa", "back");
  back.form = ModelForm::kQwen3;
  const Conversion made = convert(back);
  EXPECT_TRUE(read_tensors(folder("back")) == tensors);
  EXPECT_EQ(made.left_out.size(), 3 * 2 + 1U);
  EXPECT_EQ(parse_json(read_file(real_file_system(), folder("back/config.json"), 10000), "back"),
            config);
}

TEST_F(ConversionTest, ShardsHoldTheSameAndBecomeOneFileAgain) {
  write_plain();
  convert(options("plain", "msa"));
  auto small = options("msa", "small");
  small.max_shard_bytes = 3000;
  const Conversion made = convert(small);
  EXPECT_GT(made.num_files, 5);
  EXPECT_FALSE(std::filesystem::exists(folder("small/model.safetensors")));
  EXPECT_TRUE(read_tensors(folder("small")) == read_tensors(folder("msa")));
  const Json index = parse_json(
      read_file(real_file_system(), folder("small/model.safetensors.index.json"), 100000), "index");
  EXPECT_EQ(index.at("metadata").at("total_size"), made.num_bytes);
  convert(options("small", "whole"));
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"}) {
    EXPECT_EQ(read_file(real_file_system(), folder("whole") / name, 1 << 20),
              read_file(real_file_system(), folder("msa") / name, 1 << 20))
        << name;
  }
}

TEST_F(ConversionTest, NumbersAreRoundedAndTheConfigSaysSo) {
  write_plain();
  auto wide = options("plain", "wide");
  wide.type = DataType::kF32;
  EXPECT_EQ(convert(wide).types, "F32");
  const Tensors found = read_tensors(folder("wide"));
  for (const auto& [name, tensor] : tensors) {
    const Tensor& other = found.at(name);
    ASSERT_EQ(other.bytes.size(), 2 * tensor.bytes.size()) << name;
    for (size_t i = 0; i < tensor.bytes.size(); ++i) {
      ASSERT_EQ(other.bytes[i / 2 * 4 + 2 + i % 2], tensor.bytes[i]) << name;
    }
  }
  EXPECT_EQ(load_config(real_file_system(), folder("wide")).raw.at("torch_dtype"), "float32");
  auto narrow = options("wide", "narrow");
  narrow.type = DataType::kBF16;
  convert(narrow);
  const Tensors rounded = read_tensors(folder("narrow"));
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(rounded.at(name) == tensor) << name;
  EXPECT_EQ(rounded.at("temperature").type, DataType::kBF16);
}

TEST_F(ConversionTest, AConfigOfNewerWritersIsReadAndKept) {
  config.erase("rope_theta");
  config.erase("torch_dtype");
  config["dtype"] = "bfloat16";
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e6}};
  write_plain();
  auto wanted = options("plain", "msa");
  wanted.type = DataType::kF32;
  convert(wanted);
  const ModelConfig read = load_config(real_file_system(), folder("msa"));
  EXPECT_EQ(read.rope_theta, 5e6);
  EXPECT_EQ(read.raw.at("dtype"), "float32");
  EXPECT_FALSE(read.raw.contains("torch_dtype") || read.raw.contains("rope_theta"));
}

TEST_F(ConversionTest, TwoTopKStayTwo) {
  write_plain();
  convert(options("plain", "msa"));
  Json json = load_config(real_file_system(), folder("msa")).raw;
  json["msa_config"]["top_k_docs"] = 4;
  write_text("msa/config.json", json.dump());
  convert(options("msa", "other"));
  EXPECT_EQ(parse_json(read_file(real_file_system(), folder("other/config.json"), 10000), "other"),
            json);
}

TEST_F(ConversionTest, TheHeadThatTiedEmbeddingsReplaceIsLeftOut) {
  tensors["lm_head.weight"] = tensors.at("model.embed_tokens.weight");
  write_plain();
  EXPECT_EQ(convert(options("plain", "msa")).left_out, std::vector<std::string>{"lm_head.weight"});
  EXPECT_EQ(read_tensors(folder("msa")).count("lm_head.weight"), 0U);
}

TEST_F(ConversionTest, UnknownTensorsAreRefusedCopiedOrLeftOut) {
  tensors["rotary.inv_freq"] = {.type = DataType::kI64, .shape = {1}, .bytes = "12345678"};
  write_plain();
  auto wanted = options("plain", "msa");
  expect_refusal(wanted, ErrorCode::kInvalidFormat,
                 "model.safetensors: the tensor \"rotary.inv_freq\" belongs to no layer");
  wanted.unknown = UnknownTensors::kCopied;
  wanted.type = DataType::kF32;
  EXPECT_EQ(convert(wanted).copied, std::vector<std::string>{"rotary.inv_freq"});
  EXPECT_TRUE(read_tensors(folder("msa")).at("rotary.inv_freq") == tensors.at("rotary.inv_freq"));
  wanted.unknown = UnknownTensors::kLeftOut;
  wanted.to = folder("without");
  EXPECT_EQ(convert(wanted).left_out, std::vector<std::string>{"rotary.inv_freq"});
  EXPECT_EQ(read_tensors(folder("without")).count("rotary.inv_freq"), 0U);
}

TEST_F(ConversionTest, WhatDoesNotFitIsRefusedByName) {
  const Tensors good = tensors;
  const std::string query = "model.layers.1.self_attn.q_proj.weight";
  const auto with = [&](const std::function<void()>& change, const std::string& part) {
    change();
    write_plain();
    expect_refusal(options("plain", "msa"), ErrorCode::kInvalidFormat, part);
    tensors = good;
    config = plain_config();
  };
  with([&] { tensors.erase(query); }, "the tensor \"" + query + "\" is missing");
  with(
      [&] {
        tensors.at(query).shape = {16, 32};
      },
      query + "\" must have the shape [32, 16] of config.json, got [16, 32]");
  with([&] { tensors.at(query).type = DataType::kI16; }, query + "\" must be F32, BF16 or F16");
  with([&] { tensors.at(query).bytes.replace(6, 2, "\x80\x7f"); },
       query + "\" holds a value that is not finite");
  with([&] { tensors[router_k_name(2)] = tensors.at(attention_k_name(2)); },
       "5 of 6 routers are missing");
  with([&] { config["model_type"] = "llama"; }, "\"model_type\" must be \"msa\" or \"qwen3\"");
  with([&] { config["num_hidden_layers"] = "five"; }, "num_hidden_layers");
  with(
      [&] {
        config["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 1e4}};
      },
      "\"rope_parameters\" must be an object of rope_type \"default\"");
  with(
      [&] {
        config["rope_parameters"] = {{"rope_theta", 1e6}};
      },
      "\"rope_theta\" must be that of rope_parameters");

  write_plain();
  convert(options("plain", "msa"));
  auto wanted = options("msa", "other");
  wanted.routers = FreshRouters();
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "has its own in config.json");
  wanted = options("plain", "other");
  wanted.routers = FreshRouters{.layers = {3, 3}, .chunk_tokens = 64, .top_k = 16};
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "must rise and be below 5, got 3 behind 3");
  wanted.routers = FreshRouters{.layers = {5}, .chunk_tokens = 64, .top_k = 16};
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "below 5, got 5");
  wanted.routers = FreshRouters{.layers = {}, .chunk_tokens = 0, .top_k = 16};
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "in [1, 4096], got 0");
  wanted.routers = FreshRouters();
  wanted.form = ModelForm::kQwen3;
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "gets none");
  wanted = options("plain", "other");
  wanted.max_shard_bytes = 0;
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "a shard must have room");
  wanted = options("plain", "other");
  wanted.card = folder("card.md");
  expect_refusal(wanted, ErrorCode::kNotFound, "card.md");
  expect_refusal(options("plain", "none/other"), ErrorCode::kNotFound, "none/other.tmp");
  expect_refusal(options("none", "other"), ErrorCode::kNotFound, "config.json");
  std::filesystem::remove(folder("plain/model.safetensors"));
  expect_refusal(options("plain", "other"), ErrorCode::kNotFound, "holds neither");
}

TEST_F(ConversionTest, ATruncatedShardIsRefused) {
  write_plain();
  auto small = options("plain", "small");
  small.max_shard_bytes = 3000;
  convert(small);
  const auto names = names_in(folder("small"));
  const std::string second = *names.lower_bound("model-00002");
  const auto shard = folder("small") / second;
  const uint64_t size = std::filesystem::file_size(shard);
  std::filesystem::resize_file(shard, size - 1);
  expect_refusal(options("small", "other"), ErrorCode::kInvalidFormat, shard.string());
  std::filesystem::resize_file(shard, 4);
  expect_refusal(options("small", "other"), ErrorCode::kInvalidFormat, shard.string());
  std::filesystem::remove(shard);
  expect_refusal(options("small", "other"), ErrorCode::kNotFound, shard.string());
}

TEST_F(ConversionTest, ANameThatIsTakenIsLeftAlone) {
  write_plain();
  std::filesystem::create_directories(folder("taken"));
  expect_refusal(options("plain", "taken"), ErrorCode::kInvalidArgument, "taken is there");
  expect_refusal(options("plain", "taken/"), ErrorCode::kInvalidArgument, "taken is there");
  expect_refusal(options("plain", "plain"), ErrorCode::kInvalidArgument, "plain is there");
  std::filesystem::create_directories(folder("msa.tmp"));
  write_text("msa.tmp/notes.txt", "mine");
  expect_refusal(options("plain", "msa"), ErrorCode::kInvalidArgument, "msa.tmp is in the way");
  EXPECT_EQ(read_file(real_file_system(), folder("msa.tmp/notes.txt"), 10), "mine");
  std::filesystem::create_directories(folder("other.tmp"));
  const auto lock = FileLock::acquire(folder("other.tmp/LOCK"));
  expect_refusal(options("plain", "other"), ErrorCode::kLocked, "is being written by process");
}

class SmallDisk final : public ObservedFileSystem {
 public:
  explicit SmallDisk(uint64_t free)
      : ObservedFileSystem([](std::string_view, const std::filesystem::path&) {}), free_(free) {}
  uint64_t free_bytes(const std::filesystem::path&) override { return free_; }

 private:
  uint64_t free_;
};

TEST_F(ConversionTest, TooLittleRoomIsSaidBeforeTheFirstByte) {
  write_plain();
  uint64_t wanted = 0;
  auto to_msa = options("plain", "msa");
  to_msa.on_progress = [&](uint64_t, uint64_t total) { wanted = total; };
  convert(to_msa);
  std::filesystem::remove_all(folder("msa"));
  SmallDisk small(wanted - 1);
  try {
    convert_model(small, options("plain", "msa"));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
    EXPECT_NE(std::string(error.what())
                  .find("needs " + std::to_string(wanted) + " bytes, " +
                        std::to_string(wanted - 1) + " are free"),
              std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(folder("msa.tmp")));
  SmallDisk enough(wanted);
  EXPECT_NO_THROW(convert_model(enough, options("plain", "msa")));
}

TEST_F(ConversionTest, WhicheverCallFailsNothingIsLeft) {
  write_plain();
  auto wanted = options("plain", "msa");
  wanted.max_shard_bytes = 20000;
  int64_t failures = 0;
  for (int64_t good_calls = 0; !std::filesystem::exists(folder("msa")); ++good_calls) {
    int64_t left = good_calls;
    ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
      if (left-- == 0) throw Error(ErrorCode::kNoSpace, call, " of ", path.string());
    });
    try {
      convert_model(files, wanted);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace) << error.what();
      ++failures;
      EXPECT_FALSE(std::filesystem::exists(folder("msa.tmp"))) << error.what();
    }
  }
  EXPECT_GT(failures, 80);
  EXPECT_EQ(read_tensors(folder("msa")).size(), tensors.size() + 7);
}

TEST_F(ConversionTest, ADeeperModelBeginsWithTheSameKeysAndValues) {
  write_plain();
  convert(options("plain", "msa"));
  auto wanted = options("msa", "deeper");
  wanted.expand_every = 2;
  const Conversion made = convert(wanted);
  EXPECT_FALSE(made.has_fresh_routers);
  EXPECT_EQ(made.left_out, std::vector<std::string>());
  EXPECT_EQ(made.config.num_layers, 7);
  EXPECT_EQ(made.config.msa.router_layers, (std::vector<int64_t>{3, 4, 6}));
  std::set<std::string> names;
  for (const auto& [name, shape] : parameter_shapes(made.config)) names.insert(name);
  std::set<std::string> found;
  for (const auto& [name, tensor] : read_tensors(folder("deeper"))) found.insert(name);
  EXPECT_EQ(found, names);

  const TransformerOptions float32;
  const auto shallow = Transformer::load(real_file_system(), folder("msa"), float32);
  const auto deep = Transformer::load(real_file_system(), folder("deeper"), float32);
  const std::vector<int32_t> tokens = {1, 39, 7, 7, 20, 3, 11};
  const PromptHead a = shallow->encode_head(tokens);
  const PromptHead b = deep->encode_head(tokens);
  ASSERT_EQ(b.key.size(), 7U);
  const size_t places[] = {0, 1, 3, 4, 6};
  for (size_t layer = 0; layer < 5; ++layer) {
    EXPECT_TRUE(a.key[layer].equal(b.key[places[layer]])) << layer;
    EXPECT_TRUE(a.value[layer].equal(b.value[places[layer]])) << layer;
  }
  // What a copy adds is nothing, what it has to add is not.
  EXPECT_FALSE(b.value[2].equal(b.value[1]));
  wanted.to = folder("other");
  wanted.expand_every = 6;
  expect_refusal(wanted, ErrorCode::kInvalidArgument, "behind every 1 to 5 layers");
}

TEST_F(ConversionTest, AfterALossOfPowerTheFolderIsWholeOrNotThereAndCanBeMade) {
  write_plain();
  auto wanted = options("plain", "msa");
  wanted.max_shard_bytes = 20000;
  convert(options("plain", "whole"));
  const Tensors whole = read_tensors(folder("whole"));
  bool is_done = false;
  for (int64_t good_calls = 0; !is_done; good_calls += 7) {
    for (const auto lost : {LosingFileSystem::Lost::kNothing, LosingFileSystem::Lost::kAll}) {
      LosingFileSystem files(good_calls);
      try {
        convert_model(files, wanted);
        is_done = true;
      } catch (const LosingFileSystem::PowerLoss&) {
      }
      files.lose(lost);
      if (!std::filesystem::exists(folder("msa"))) convert(wanted);
      ASSERT_TRUE(read_tensors(folder("msa")) == whole) << good_calls;
      ASSERT_FALSE(std::filesystem::exists(folder("msa.tmp")));
      std::filesystem::remove_all(folder("msa"));
    }
  }
}

TEST_F(ConversionTest, WhoeverWatchesCanStopIt) {
  write_plain();
  auto wanted = options("plain", "msa");
  uint64_t last = 0;
  wanted.on_progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    if (done > total / 2) throw Error(ErrorCode::kInterrupted, "stopped");
  };
  expect_refusal(wanted, ErrorCode::kInterrupted, "stopped");
  EXPECT_GT(last, 0U);
}

TEST_F(ConversionTest, TheCardIsWhatIsGivenAndWhatIsKnown) {
  write_plain();
  write_text("card.md", "---\nlicense: apache-2.0\n---\n# A model\n");
  auto wanted = options("plain", "msa");
  wanted.card = folder("card.md");
  convert(wanted);
  const std::string card = read_file(real_file_system(), folder("msa/README.md"), 10000);
  EXPECT_TRUE(card.starts_with("---\nlicense: apache-2.0\nlibrary_name: msa\n")) << card;
  EXPECT_NE(card.find("| router layers | 2, 3, 4 |"), std::string::npos) << card;
  write_text("card.md", "---\nlicense: apache-2.0\n");
  wanted.to = folder("other");
  expect_refusal(wanted, ErrorCode::kInvalidFormat, "card.md: the header");
}

}  // namespace
}  // namespace msa::model
