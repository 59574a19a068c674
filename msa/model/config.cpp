#include "msa/model/config.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "msa/base/error.h"
#include "msa/model/int8_config.h"

namespace msa::model {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

[[noreturn]] void refuse(std::string_view what, std::string_view key, std::string_view wanted,
                         std::string_view found) {
  throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be ", wanted, ", got ", found);
}

std::vector<int64_t> parse_router_layers(const Json& msa, int64_t num_layers,
                                         std::string_view what) {
  if (!json_has(msa, "router_layer_idx")) return {};
  const std::string text = json_string(msa, "router_layer_idx", what);
  std::vector<int64_t> layers;
  if (text == "all") {
    for (int64_t layer = 0; layer < num_layers; ++layer) layers.push_back(layer);
    return layers;
  }
  int64_t number = -1;
  bool is_after_blank = false;  // within one number
  for (const char c : text + ",") {
    if (c >= '0' && c <= '9' && number < num_layers && !is_after_blank) {
      number = std::max<int64_t>(number, 0) * 10 + (c - '0');
    } else if (c == ',' && number >= 0) {
      layers.push_back(number);
      number = -1;
    } else if (c != ' ' && c != ',') {
      refuse(what, "router_layer_idx", "\"all\" or layer numbers joined by commas", text);
    }
    is_after_blank = c == ' ' && number >= 0;
  }
  if (!std::is_sorted(layers.begin(), layers.end()) ||
      std::adjacent_find(layers.begin(), layers.end()) != layers.end() ||
      (!layers.empty() && layers.back() >= num_layers)) {
    refuse(what, "router_layer_idx", "rising layer numbers below " + std::to_string(num_layers),
           text);
  }
  return layers;
}

template <typename Value>
Value parse_choice(const Json& msa, const char* key, Value otherwise,
                   std::initializer_list<std::pair<std::string_view, Value>> choices,
                   std::string_view what) {
  if (!json_has(msa, key)) return otherwise;
  const std::string text = json_string(msa, key, what);
  std::string wanted;
  for (const auto& [name, value] : choices) {
    if (name == text) return value;
    wanted += (wanted.empty() ? "\"" : ", \"") + std::string(name) + "\"";
  }
  refuse(what, key, "one of " + wanted, "\"" + text + "\"");
}

int64_t parse_top_k(const Json& msa, const ConfigOptions& options, std::string_view what) {
  constexpr int64_t kMaxTopK = 4096;
  const bool has_first = json_has(msa, "doc_top_k");
  const bool has_second = json_has(msa, "top_k_docs");
  const int64_t first = has_first ? json_integer(msa, "doc_top_k", 1, kMaxTopK, what) : 16;
  const int64_t second = has_second ? json_integer(msa, "top_k_docs", 1, kMaxTopK, what) : 16;
  if (has_first && has_second && first != second && !options.allow_two_top_k) {
    throw Error(ErrorCode::kInvalidFormat, what, ": \"doc_top_k\" is ", first,
                " and \"top_k_docs\" is ", second,
                "; inference and training would differ (allow_two_top_k takes doc_top_k)");
  }
  return has_first ? first : second;
}

MsaConfig parse_msa(const Json& json, const ModelConfig& config, const ConfigOptions& options,
                    std::string_view what) {
  using memory::ChunkReduce;
  using memory::HeadReduce;
  using memory::QueryReduce;
  if (!json.is_object()) refuse(what, "msa_config", "an object", to_line(json).substr(0, 60));
  MsaConfig msa;
  msa.router_layers = parse_router_layers(json, config.num_layers, what);
  msa.top_k = parse_top_k(json, options, what);
  if (json_has(json, "pooling_kernel_size")) {
    msa.chunk_tokens = json_integer(json, "pooling_kernel_size", 1, 4096, what);
  }
  if (json_has(json, "decouple_router")) {
    msa.has_own_router = json_bool(json, "decouple_router", what);
  }
  msa.rule.head = parse_choice(json, "head_reduce_method", HeadReduce::kMean,
                               {{"mean", HeadReduce::kMean}, {"max", HeadReduce::kMax}}, what);
  msa.rule.query = parse_choice(
      json, "query_reduce_method", QueryReduce::kMax,
      {{"max", QueryReduce::kMax}, {"mean", QueryReduce::kMean}, {"last", QueryReduce::kLast}},
      what);
  msa.rule.chunk = parse_choice(json, "chunk_reduce_method", ChunkReduce::kMax,
                                {{"max", ChunkReduce::kMax}, {"mean", ChunkReduce::kMean}}, what);
  parse_choice(json, "decouple_pooling_mode", 0, {{"mean", 0}}, what);
  msa.answer_prompt_attention = parse_choice(
      json, "answer_prompt_attention", AnswerPromptAttention::kCausal,
      {{"causal", AnswerPromptAttention::kCausal}, {"full", AnswerPromptAttention::kFull}}, what);
  const std::string method = json_has(json, "aux_loss_method")
                                 ? json_string(json, "aux_loss_method", what)
                                 : std::string("INFONCE");
  parse_choice(json, "aux_loss_method", 0,
               {{"INFONCE", 0},
                {"INFONCE_FOCAL", 0},
                {"INFONCE_DECOUPLE", 0},
                {"INFONCE_DECOUPLE_FOCAL", 0},
                {"BCE", 0}},
               what);
  msa.normalises_routing = options.routing == RoutingConvention::kPaper
                               ? method.find("INFONCE") != std::string::npos
                               : method == "INFONCE";
  // Unit vectors of the router's own projections are compared by their cosine; all others are
  // scaled.
  if (!(msa.normalises_routing && msa.has_own_router)) {
    msa.rule.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  }
  return msa;
}

void add_end_tokens(const Json& json, int64_t vocab_size, std::string_view what,
                    std::vector<int64_t>& tokens) {
  if (!json_has(json, "eos_token_id")) return;
  const Json& value = json.at("eos_token_id");
  const Json list = value.is_array() ? value : Json::array({value});
  std::set<int64_t> held(tokens.begin(), tokens.end());
  for (const Json& entry : list) {
    if (!entry.is_number_integer() || entry.get<int64_t>() < 0 ||
        entry.get<int64_t>() >= vocab_size) {
      refuse(what, "eos_token_id", "token ids below the vocabulary size", to_line(value));
    }
    const auto token = entry.get<int64_t>();
    if (held.insert(token).second) tokens.push_back(token);
  }
}

void refuse_unsupported(const Json& json, std::string_view what) {
  const std::string type = json_string(json, "model_type", what);
  if (type != "msa" && type != "qwen3") refuse(what, "model_type", "\"msa\" or \"qwen3\"", type);
  if (json_has(json, "hidden_act") && json_string(json, "hidden_act", what) != "silu") {
    refuse(what, "hidden_act", "\"silu\"", json_string(json, "hidden_act", what));
  }
  if (json_has(json, "rope_scaling")) {
    refuse(what, "rope_scaling", "null", to_line(json.at("rope_scaling")).substr(0, 100));
  }
  for (const char* key : {"attention_bias", "use_sliding_window"}) {
    if (json_has(json, key) && json_bool(json, key, what)) refuse(what, key, "false", "true");
  }
}

/// `rope_theta`, or that of `rope_parameters`, where newer writers of the layout keep it.
double parse_rope_theta(const Json& json, std::string_view what) {
  constexpr double kLargest = 1e12;
  if (!json_has(json, "rope_parameters")) {
    return json_number(json, "rope_theta", 1, kLargest, what);
  }
  const Json& rope = json.at("rope_parameters");
  if (!rope.is_object() || (json_has(rope, "rope_type") && rope.at("rope_type") != "default")) {
    refuse(what, "rope_parameters", "an object of rope_type \"default\"",
           to_line(rope).substr(0, 100));
  }
  const double theta =
      json_number(rope, "rope_theta", 1, kLargest, std::string(what) + " rope_parameters");
  if (json_has(json, "rope_theta") && json_number(json, "rope_theta", 1, kLargest, what) != theta) {
    refuse(what, "rope_theta", "that of rope_parameters", to_line(json.at("rope_theta")));
  }
  return theta;
}

}  // namespace

int64_t ModelConfig::router_slot(int64_t layer) const {
  const auto found = std::find(msa.router_layers.begin(), msa.router_layers.end(), layer);
  return found == msa.router_layers.end() ? -1 : found - msa.router_layers.begin();
}

float ModelConfig::attention_scale() const {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

memory::MemoryShape ModelConfig::memory_shape() const {
  return {.num_layers = static_cast<int64_t>(msa.router_layers.size()),
          .num_kv_heads = num_kv_heads,
          .head_dim = head_dim,
          .chunk_tokens = msa.chunk_tokens};
}

ModelConfig parse_config(const Json& json, std::string_view what, const ConfigOptions& options) {
  if (!json.is_object()) {
    throw Error(ErrorCode::kInvalidFormat, what, ": must be a JSON object");
  }
  refuse_unsupported(json, what);
  ModelConfig config;
  config.raw = json;
  config.num_layers = json_integer(json, "num_hidden_layers", 1, 512, what);
  config.embed_dim = json_integer(json, "hidden_size", 1, 65536, what);
  config.ffn_dim = json_integer(json, "intermediate_size", 1, 1 << 20, what);
  config.num_heads = json_integer(json, "num_attention_heads", 1, 1024, what);
  config.num_kv_heads = json_integer(json, "num_key_value_heads", 1, config.num_heads, what);
  config.head_dim = json_has(json, "head_dim") ? json_integer(json, "head_dim", 2, 1024, what)
                                               : config.embed_dim / config.num_heads;
  config.vocab_size = json_integer(json, "vocab_size", 1, 1 << 24, what);
  config.rms_eps = json_number(json, "rms_norm_eps", 0, 1, what);
  config.rope_theta = parse_rope_theta(json, what);
  config.ties_embeddings =
      json_has(json, "tie_word_embeddings") && json_bool(json, "tie_word_embeddings", what);
  if (json_has(json, kQuantizationKey)) {
    expect_int8_config(json.at(kQuantizationKey), what);
    config.has_int8_matrices = true;
  }
  if (config.num_heads % config.num_kv_heads != 0) {
    refuse(what, "num_attention_heads",
           "a multiple of num_key_value_heads = " + std::to_string(config.num_kv_heads),
           std::to_string(config.num_heads));
  }
  if (config.head_dim < 2 || config.head_dim % 2 != 0) {
    refuse(what, "head_dim", "even", std::to_string(config.head_dim));
  }
  if (json_has(json, "msa_config")) {
    Json msa = json.at("msa_config");
    if (msa.is_object()) msa.update(options.msa_changes);
    config.msa = parse_msa(msa, config, options, std::string(what) + " msa_config");
  }
  add_end_tokens(json, config.vocab_size, what, config.end_tokens);
  return config;
}

ModelConfig load_config(FileSystem& files, const std::filesystem::path& folder,
                        const ConfigOptions& options) {
  const auto path = folder / "config.json";
  ModelConfig config = parse_config(
      parse_json(read_file(files, path, kMaxConfigBytes), path.string()), path.string(), options);
  const auto generation = folder / "generation_config.json";
  if (files.exists(generation)) {
    add_end_tokens(parse_json(read_file(files, generation, kMaxConfigBytes), generation.string()),
                   config.vocab_size, generation.string(), config.end_tokens);
  }
  return config;
}

}  // namespace msa::model
