#pragma once
// README.md of a model folder: what its maker says of it, and its shape.

#include <cstdint>
#include <string>
#include <string_view>

#include "msa/model/config.h"

namespace msa::model {

struct CardFacts {
  std::string name;
  const ModelConfig& config;
  int64_t num_parameters = 0;
  std::string types;               // "BF16"
  int64_t num_int8 = 0;            // parameters that are int8 with one scale a row
  uint64_t num_bytes = 0;          // of tensors; not said where 0
  bool has_fresh_routers = false;  // that nothing has trained
};

/// `given` completed by what follows from the model: `library_name`, and `tags` of a model with
/// memory, where its YAML header lacks them; its name as title where the text has none; and a
/// section "## Shape" at the end, unless it has one. `given` is Markdown, which may begin with a
/// header between lines of ---: licence, data, metrics and tables are what it says and nothing
/// else. Throws Error(kInvalidFormat) naming `what` and the line if the header has no end, a line
/// that is no key with a value, or a key twice.
std::string model_card(std::string_view given, std::string_view what, const CardFacts& facts);

}  // namespace msa::model
