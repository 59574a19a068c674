#include "msa/model/conversion.h"

#include <cstring>
#include <memory>
#include <set>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/model/block_expansion.h"
#include "msa/model/model_card.h"
#include "msa/model/parameter_shapes.h"
#include "msa/storage/stored_values.h"
#include "msa/storage/tensor_files.h"

namespace msa::model {
namespace {

using storage::Append;
using storage::DataType;
using storage::SafetensorsFile;
using storage::TensorStream;

constexpr uint64_t kMaxCardBytes = uint64_t{1} << 20;

/// Which of two top k counts is for whoever runs the model.
ConfigOptions any_top_k() {
  ConfigOptions options;
  options.allow_two_top_k = true;
  return options;
}

Json fresh_msa_config(const FreshRouters& routers, int64_t num_layers) {
  std::vector<int64_t> layers = routers.layers;
  if (layers.empty()) {
    for (int64_t layer = num_layers / 2; layer < num_layers; ++layer) layers.push_back(layer);
  }
  std::string names;
  int64_t last = -1;
  for (const int64_t layer : layers) {
    MSA_CHECK(layer > last && layer < num_layers, "router layers must rise and be below ",
              num_layers, ", got ", layer, last < 0 ? "" : " behind ",
              last < 0 ? "" : std::to_string(last));
    names += (names.empty() ? "" : ",") + std::to_string(layer);
    last = layer;
  }
  MSA_CHECK(routers.chunk_tokens >= 1 && routers.chunk_tokens <= 4096,
            "tokens of a chunk must be in [1, 4096], got ", routers.chunk_tokens);
  MSA_CHECK(routers.top_k >= 1 && routers.top_k <= 4096,
            "documents chosen in a layer must be in [1, 4096], got ", routers.top_k);
  return {{"router_layer_idx", names},
          {"doc_top_k", routers.top_k},
          {"top_k_docs", routers.top_k},
          {"pooling_kernel_size", routers.chunk_tokens},
          {"decouple_router", true},
          {"head_reduce_method", "mean"},
          {"query_reduce_method", "max"},
          {"chunk_reduce_method", "max"},
          {"decouple_pooling_mode", "mean"},
          {"aux_loss_method", "INFONCE"},  // both conventions of routing normalise it
          {"infonce_loss_temp", 0.1},
          {"rewrite_position", true}};
}

ModelConfig target_config(const ModelConfig& source, const ConversionOptions& options) {
  Json json = options.expand_every == 0
                  ? source.raw
                  : expanded_config(source.raw, source.num_layers, source.msa.router_layers,
                                    options.expand_every);
  const int64_t num_layers = json.at("num_hidden_layers");
  if (options.form == ModelForm::kQwen3) {
    json["model_type"] = "qwen3";
    json["architectures"] = {"Qwen3ForCausalLM"};
    json.erase("msa_config");
    json.erase("auto_map");
  } else {
    json["model_type"] = "msa";
    json["architectures"] = {"MSAForCausalLM"};
    if (!source.has_memory()) {
      json["msa_config"] = fresh_msa_config(options.routers.value_or(FreshRouters()), num_layers);
    }
  }
  if (options.type) {
    const char* name = *options.type == DataType::kF32 ? "float32" : "bfloat16";
    if (json_has(json, "dtype")) json["dtype"] = name;
    if (json_has(json, "torch_dtype") || !json_has(json, "dtype")) json["torch_dtype"] = name;
  }
  return parse_config(json, "the new config.json", any_top_k());
}

/// Gathers the tensors of the new folder. What it is built of must outlive them.
class Plan {
 public:
  Plan(const storage::TensorFiles& stored, const ModelConfig& source, const ModelConfig& target,
       const ConversionOptions& options)
      : stored_(stored), source_(source), target_(target), options_(options) {}

  std::vector<TensorStream> tensors;
  std::vector<std::string> copied;
  std::vector<std::string> left_out;
  int64_t num_fresh = 0;
  int64_t num_parameters = 0;

  void add_parameters() {
    for (const auto& [name, shape] : parameter_shapes(target_)) {
      const ExpandedTensor origin = origin_of(name);
      const SafetensorsFile* file = stored_.find(origin.from);
      if (file != nullptr) {
        expect_weight(*file, origin.from, shape);
        read_.insert(origin.from);
        if (origin.is_zero) add_zeros(*file, origin.from, name);
        if (!origin.is_zero) add_stored(*file, origin.from, name);
      } else if (shape.empty()) {
        add_scalar(name);
      } else if (is_router_parameter(name) && !source_.has_memory()) {
        add_router(name, shape);
      } else {
        throw Error(ErrorCode::kInvalidFormat, stored_.folder().string(), ": the tensor \"",
                    origin.from, "\" is missing");
      }
      int64_t values = shape.empty() ? 0 : 1;  // scalars belong to the loss
      for (const int64_t side : shape) values *= side;
      num_parameters += values;
    }
    const auto wanted = static_cast<int64_t>(2 * target_.msa.router_layers.size());
    if (num_fresh != 0 && num_fresh != wanted) {
      throw Error(ErrorCode::kInvalidFormat, stored_.folder().string(), ": ", num_fresh, " of ",
                  wanted, " routers are missing: all must be there, or none");
    }
  }

  /// Tensors that are stored and no parameters of the new model.
  void add_others() {
    std::set<std::string> known;
    for (const auto& [name, shape] : parameter_shapes(source_)) known.insert(name);
    for (const std::string& name : stored_.names()) {
      if (read_.contains(name)) continue;
      if (known.contains(name) || is_unread(target_, name)) {
        // A scalar of the loss stays with a model of memory, whichever loss its config names.
        const bool stays = options_.form == ModelForm::kMsa && is_router_parameter(name);
        if (stays) add_stored(*stored_.find(name), name, name);
        if (!stays) left_out.push_back(name);
      } else if (options_.unknown == UnknownTensors::kCopied) {
        add_copy(*stored_.find(name), name);
        copied.push_back(name);
      } else if (options_.unknown == UnknownTensors::kLeftOut) {
        left_out.push_back(name);
      } else {
        throw Error(ErrorCode::kInvalidFormat, stored_.find(name)->path().string(),
                    ": the tensor \"", name, "\" belongs to no layer of config.json");
      }
    }
  }

 private:
  DataType type_of(DataType stored) const { return options_.type.value_or(stored); }

  ExpandedTensor origin_of(const std::string& name) const {
    if (options_.expand_every == 0) return {.from = name};
    return expanded_tensor(name, options_.expand_every);
  }

  void add_zeros(const SafetensorsFile& file, const std::string& from, const std::string& name) {
    const storage::TensorInfo& info = file.tensor(from);
    const DataType type = type_of(info.type);
    const int64_t row_bytes = info.shape[1] * storage::data_type_bytes(type);
    const auto write = [rows = info.shape[0], row_bytes](const Append& append) {
      const std::vector<std::byte> zeros(static_cast<size_t>(row_bytes));
      for (int64_t row = 0; row < rows; ++row) append(zeros);
    };
    tensors.push_back({.name = name, .type = type, .shape = info.shape, .write = write});
  }

  void add_stored(const SafetensorsFile& file, const std::string& from, const std::string& name) {
    const storage::TensorInfo& info = file.tensor(from);
    const auto count = static_cast<int64_t>(info.num_bytes) / storage::data_type_bytes(info.type);
    const DataType type = type_of(info.type);
    const auto write = [&file, from, count, type](const Append& append) {
      storage::append_values(file, from, {.first = 0, .count = count}, type, append);
    };
    tensors.push_back({.name = name, .type = type, .shape = info.shape, .write = write});
  }

  void add_copy(const SafetensorsFile& file, const std::string& name) {
    const storage::TensorInfo& info = file.tensor(name);
    const auto write = [&file, name](const Append& append) {
      storage::append_bytes(file, name, append);
    };
    tensors.push_back({.name = name, .type = info.type, .shape = info.shape, .write = write});
  }

  void add_scalar(const std::string& name) {
    const auto value = static_cast<float>(first_scalar(target_, name));
    const bool is_float32 = type_of(DataType::kF32) == DataType::kF32;
    const auto write = [value, is_float32](const Append& append) {
      const uint16_t rounded = to_bfloat16(value).bits;
      append(is_float32 ? std::as_bytes(std::span(&value, 1))
                        : std::as_bytes(std::span(&rounded, 1)));
    };
    tensors.push_back({.name = name,
                       .type = is_float32 ? DataType::kF32 : DataType::kBF16,
                       .shape = {},
                       .write = write});
  }

  void add_router(const std::string& name, const std::vector<int64_t>& shape) {
    const auto is_of_layer = [&](int64_t layer) {
      return name == router_k_name(layer) || name == router_q_name(layer);
    };
    int64_t layer = 0;
    while (!is_of_layer(layer)) ++layer;
    const std::string from = origin_of(attention_k_name(layer)).from;
    const SafetensorsFile& file = *stored_.find(from);  // a parameter that came before
    const DataType type = type_of(file.tensor(from).type);
    const int64_t num_groups = target_.num_kv_heads;
    const int64_t head_values = target_.head_dim * target_.embed_dim;
    const int64_t repeats = shape[0] / (num_groups * target_.head_dim);
    const auto write = [&file, from, type, num_groups, head_values, repeats](const Append& append) {
      for (int64_t copy = 0; copy < num_groups * repeats; ++copy) {
        storage::append_values(file, from,
                               {.first = copy / repeats * head_values, .count = head_values}, type,
                               append);
      }
    };
    tensors.push_back({.name = name, .type = type, .shape = shape, .write = write});
    ++num_fresh;
  }

  const storage::TensorFiles& stored_;
  const ModelConfig& source_;
  const ModelConfig& target_;
  const ConversionOptions& options_;
  std::set<std::string> read_;  // stored tensors that parameters come from
};

/// Lets `on_progress` see every piece. `done` must outlive the tensors.
void watch(std::vector<TensorStream>& tensors, uint64_t total, uint64_t& done,
           const std::function<void(uint64_t, uint64_t)>& on_progress) {
  for (TensorStream& tensor : tensors) {
    tensor.write = [write = tensor.write, total, &done, &on_progress](const Append& append) {
      write([&](std::span<const std::byte> bytes) {
        append(bytes);
        done += bytes.size();
        on_progress(done, total);
      });
    };
  }
}

std::string types_of(const std::vector<TensorStream>& tensors) {
  std::set<std::string_view> names;
  for (const TensorStream& tensor : tensors) {
    if (tensor.name != "temperature" && tensor.name != "b") {
      names.insert(storage::data_type_name(tensor.type));
    }
  }
  std::string text;
  for (const std::string_view name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

}  // namespace

Conversion convert_model(FileSystem& files, const ConversionOptions& options) {
  MSA_CHECK(!options.type || *options.type == DataType::kF32 || *options.type == DataType::kBF16,
            "numbers must be F32 or BF16");
  const ModelConfig source = load_config(files, options.from, any_top_k());
  MSA_CHECK(!options.routers || (options.form == ModelForm::kMsa && !source.has_memory()),
            "router layers, chunk and top k are chosen for a plain model that gets a memory; ",
            options.from.string(),
            source.has_memory() ? " has its own in config.json" : " gets none");
  Conversion result{
      .config = target_config(source, options), .types = {}, .copied = {}, .left_out = {}};
  const storage::TensorFiles stored = storage::TensorFiles::open(files, options.from);
  Plan plan(stored, source, result.config, options);
  plan.add_parameters();
  result.types = types_of(plan.tensors);
  plan.add_others();
  result.num_parameters = plan.num_parameters;
  result.has_fresh_routers = plan.num_fresh > 0;
  for (const TensorStream& tensor : plan.tensors) result.num_bytes += tensor.num_bytes();
  uint64_t done = 0;
  if (options.on_progress) watch(plan.tensors, result.num_bytes, done, options.on_progress);

  std::string given;
  if (!options.card.empty()) {
    given = read_file(files, options.card, kMaxCardBytes);
    MSA_CHECK(!given.empty(), options.card.string(), " is empty, or no file that has a size");
  }
  const auto name = (options.to / "").lexically_normal().parent_path().filename().string();
  const std::string card = model_card(given, options.card.string(),
                                      {.name = name,
                                       .config = result.config,
                                       .num_parameters = result.num_parameters,
                                       .types = result.types,
                                       .has_fresh_routers = result.has_fresh_routers});
  result.num_files = write_model_folder(files, options.to,
                                        {.config = result.config.raw,
                                         .tensors = plan.tensors,
                                         .tokenizer = options.from,
                                         .card = card,
                                         .max_shard_bytes = options.max_shard_bytes});
  result.copied = std::move(plan.copied);
  result.left_out = std::move(plan.left_out);
  return result;
}

}  // namespace msa::model
