#include "msa/model/int8_config.h"

#include <string>

#include "msa/base/error.h"

namespace msa::model {
namespace {

[[noreturn]] void refuse(std::string_view what, std::string_view key, std::string_view wanted,
                         std::string_view found) {
  throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be ", wanted, ", got ", found);
}

std::string start_of(const Json& value) { return to_line(value).substr(0, 60); }

/// The member `key`, or null.
const Json& member(const Json& object, const char* key) {
  static const Json none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

void expect_value(const Json& object, const char* key, const Json& wanted, std::string_view what) {
  const Json& found = member(object, key);
  if (found != wanted) refuse(what, key, to_line(wanted), start_of(found));
}

/// Absent, null, false and empty all say that there is none of it.
void expect_none(const Json& object, const char* key, std::string_view what) {
  const Json& found = member(object, key);
  const bool is_empty = found.is_structured() && found.empty();
  if (!found.is_null() && !is_empty && found != false) refuse(what, key, "null", start_of(found));
}

void expect_object(const Json& value, std::string_view what, std::string_view key) {
  if (!value.is_object() || value.empty()) refuse(what, key, "an object", start_of(value));
}

void expect_weights(const Json& weights, const std::string& what) {
  expect_value(weights, "num_bits", 8, what);
  expect_value(weights, "type", "int", what);
  expect_value(weights, "symmetric", true, what);
  expect_value(weights, "strategy", "channel", what);
  if (member(weights, "group_size") != -1) expect_none(weights, "group_size", what);
  for (const char* key : {"block_structure", "dynamic"}) expect_none(weights, key, what);
}

}  // namespace

Json int8_config() {
  const Json weights{{"num_bits", 8},         {"type", "int"},    {"symmetric", true},
                     {"strategy", "channel"}, {"dynamic", false}, {"group_size", nullptr},
                     {"observer", "minmax"}};
  // Without a format here, readers of compressed-tensors take weights alone for packed ones.
  const Json group{{"targets", {"Linear"}},
                   {"format", "int-quantized"},
                   {"weights", weights},
                   {"input_activations", nullptr},
                   {"output_activations", nullptr}};
  return {{"quant_method", "compressed-tensors"},
          {"format", "int-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", {{"group_0", group}}},
          {"ignore", {"lm_head"}},
          {"kv_cache_scheme", nullptr}};
}

void expect_int8_config(const Json& json, std::string_view what) {
  expect_object(json, what, kQuantizationKey);
  const std::string name = std::string(what) + " " + kQuantizationKey;
  expect_value(json, "quant_method", "compressed-tensors", name);
  expect_value(json, "format", "int-quantized", name);
  expect_value(json, "quantization_status", "compressed", name);
  for (const char* key : {"kv_cache_scheme", "sparsity_config", "transform_config"}) {
    expect_none(json, key, name);
  }
  const Json& groups = member(json, "config_groups");
  expect_object(groups, name, "config_groups");
  for (const auto& [key, group] : groups.items()) {
    expect_object(group, name, key);
    const std::string of_group = name + " " + key.substr(0, 60);
    if (json_has(group, "format")) expect_value(group, "format", "int-quantized", of_group);
    for (const char* part : {"input_activations", "output_activations"}) {
      expect_none(group, part, of_group);
    }
    const Json& weights = member(group, "weights");
    expect_object(weights, of_group, "weights");
    expect_weights(weights, of_group + " weights");
  }
}

}  // namespace msa::model
