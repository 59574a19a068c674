#include "msa/model/conversion.h"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/model/block_expansion.h"
#include "msa/model/int8_config.h"
#include "msa/model/model_card.h"
#include "msa/model/parameter_shapes.h"
#include "msa/model/stored_weights.h"
#include "msa/storage/int8_rows.h"
#include "msa/storage/int8_values.h"
#include "msa/storage/stored_values.h"

namespace msa::model {
namespace {

using storage::Append;
using storage::DataType;
using storage::SafetensorsFile;
using storage::StoredTensor;
using storage::TensorStream;
using storage::ValueRange;

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
    json.erase(kQuantizationKey);
    if (*options.type == DataType::kI8) json[kQuantizationKey] = int8_config();
    if (json_has(json, "dtype")) json["dtype"] = name;
    if (json_has(json, "torch_dtype") || !json_has(json, "dtype")) json["torch_dtype"] = name;
  }
  return parse_config(json, "the new config.json", any_top_k());
}

/// Gathers the tensors of the new folder. What it is built of must outlive them.
class Plan {
 public:
  Plan(const StoredWeights& stored, const ModelConfig& source, const ModelConfig& target,
       const ConversionOptions& options)
      : stored_(stored), source_(source), target_(target), options_(options) {}

  std::vector<TensorStream> tensors;
  std::vector<std::string> copied;
  std::vector<std::string> left_out;
  int64_t num_fresh = 0;
  int64_t num_parameters = 0;
  std::map<std::string_view, int64_t> num_of_type;  // of parameters

  void add_parameters() {
    for (const auto& [name, shape] : parameter_shapes(target_)) {
      const ExpandedTensor origin = origin_of(name);
      if (const std::optional<StoredTensor> weight = stored_.find(origin.from, shape)) {
        add_stored(name, *weight, weight->info().shape, {whole(*weight)}, origin.is_zero);
        read_.insert(origin.from);
      } else if (shape.empty()) {
        add_scalar(name);
      } else if (is_router_parameter(name) && !source_.has_memory()) {
        add_router(name, shape);
      } else {
        stored_.at(origin.from, shape);  // says that it is missing
      }
      if (shape.empty()) continue;  // scalars belong to the loss
      int64_t values = 1;
      for (const int64_t side : shape) values *= side;
      num_parameters += values;
      num_of_type[storage::data_type_name(tensors.back().type)] += values;
    }
    const auto wanted = static_cast<int64_t>(2 * target_.msa.router_layers.size());
    if (num_fresh != 0 && num_fresh != wanted) {
      throw Error(ErrorCode::kInvalidFormat, stored_.files().folder().string(), ": ", num_fresh,
                  " of ", wanted, " routers are missing: all must be there, or none");
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
        if (stays) {
          const StoredTensor scalar = stored_.at(name, {});
          add_stored(name, scalar, scalar.info().shape, {whole(scalar)});
        } else {
          left_out.push_back(name);
        }
      } else if (options_.unknown == UnknownTensors::kCopied) {
        add_copy(name);
      } else if (options_.unknown == UnknownTensors::kLeftOut) {
        left_out.push_back(name);
      } else {
        throw Error(ErrorCode::kInvalidFormat, stored_.files().find(name)->path().string(),
                    ": the tensor \"", name, "\" belongs to no layer of config.json");
      }
    }
  }

 private:
  static ValueRange whole(const StoredTensor& weight) {
    const storage::TensorInfo& info = weight.info();
    return {.first = 0,
            .count = static_cast<int64_t>(info.num_bytes) / storage::data_type_bytes(info.type)};
  }

  ExpandedTensor origin_of(const std::string& name) const {
    if (options_.expand_every == 0) return {.from = name};
    return expanded_tensor(name, options_.expand_every);
  }

  DataType type_of(const std::string& name, const std::vector<int64_t>& shape,
                   DataType stored) const {
    const DataType type = options_.type.value_or(stored);
    const bool fits = type != DataType::kI8 || !options_.type || is_layer_matrix(name, shape);
    return fits ? type : DataType::kBF16;
  }

  /// A tensor of these parts of a stored one, in their order; or of as many zeros.
  void add_stored(const std::string& name, const StoredTensor& from,
                  const std::vector<int64_t>& shape, const std::vector<ValueRange>& parts,
                  bool is_zero = false) {
    const DataType type = type_of(name, shape, from.info().type);
    const auto add = [&](const std::string& its_name, DataType its_type,
                         const std::vector<int64_t>& its_shape, auto append_part) {
      const auto write = [from, parts, append_part, is_zero](const Append& append) {
        const Append append_zeros = [&append](std::span<const std::byte> bytes) {
          append(std::vector<std::byte>(bytes.size()));
        };
        for (const ValueRange& part : parts) {
          append_part(from, part, is_zero ? append_zeros : append);
        }
      };
      tensors.push_back({.name = its_name, .type = its_type, .shape = its_shape, .write = write});
    };
    if (type != DataType::kI8) {
      add(name, type, shape,
          [type](const StoredTensor& tensor, ValueRange part, const Append& append) {
            storage::append_values(tensor, part, type, append);
          });
      return;
    }
    if (is_zero) {
      add_scales_of_zeros(name + "_scale", shape[0]);
    } else {
      add(name + "_scale", storage::int8_scale_type(from), {shape[0], 1},
          storage::append_int8_scales);
    }
    add(name, type, shape, storage::append_int8);
  }

  void add_scales_of_zeros(const std::string& name, int64_t num_rows) {
    const auto write = [num_rows](const Append& append) {
      const std::vector<BFloat16> scales(num_rows, storage::int8_scale({}));
      append(std::as_bytes(std::span(scales)));
    };
    tensors.push_back(
        {.name = name, .type = DataType::kBF16, .shape = {num_rows, 1}, .write = write});
  }

  /// Byte by byte, with its scales.
  void add_copy(const std::string& name) {
    const SafetensorsFile& file = *stored_.files().find(name);
    const storage::TensorInfo& info = file.tensor(name);
    const auto write = [&file, name](const Append& append) {
      storage::append_bytes(file, name, append);
    };
    tensors.push_back({.name = name, .type = info.type, .shape = info.shape, .write = write});
    copied.push_back(name);
    if (stored_.has_scales(name)) add_copy(name + "_scale");
  }

  void add_scalar(const std::string& name) {
    const auto value = static_cast<float>(first_scalar(target_, name));
    const bool is_float32 = type_of(name, {}, DataType::kF32) == DataType::kF32;
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
    const int64_t num_groups = target_.num_kv_heads;
    const int64_t head_values = target_.head_dim * target_.embed_dim;
    const int64_t repeats = shape[0] / (num_groups * target_.head_dim);
    std::vector<ValueRange> parts;
    for (int64_t copy = 0; copy < num_groups * repeats; ++copy) {
      parts.push_back({.first = copy / repeats * head_values, .count = head_values});
    }
    const std::vector<int64_t> key_shape{num_groups * target_.head_dim, target_.embed_dim};
    const std::string key = origin_of(attention_k_name(layer)).from;
    add_stored(name, stored_.at(key, key_shape), shape, parts);
    ++num_fresh;
  }

  const StoredWeights& stored_;
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

std::string types_of(const std::map<std::string_view, int64_t>& num_of_type) {
  std::string text;
  for (const auto& [name, count] : num_of_type) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

}  // namespace

Conversion convert_model(FileSystem& files, const ConversionOptions& options) {
  MSA_CHECK(!options.type || *options.type == DataType::kF32 || *options.type == DataType::kBF16 ||
                *options.type == DataType::kI8,
            "numbers must be F32, BF16 or I8");
  const ModelConfig source = load_config(files, options.from, any_top_k());
  MSA_CHECK(!options.routers || (options.form == ModelForm::kMsa && !source.has_memory()),
            "router layers, chunk and top k are chosen for a plain model that gets a memory; ",
            options.from.string(),
            source.has_memory() ? " has its own in config.json" : " gets none");
  Conversion result{
      .config = target_config(source, options), .types = {}, .copied = {}, .left_out = {}};
  const StoredWeights stored = StoredWeights::open(files, options.from, source);
  Plan plan(stored, source, result.config, options);
  plan.add_parameters();
  result.types = types_of(plan.num_of_type);
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
                                       .num_int8 = plan.num_of_type["I8"],
                                       .num_bytes = result.num_bytes,
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
