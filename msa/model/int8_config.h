#pragma once
// What config.json says of matrices that are kept as int8. docs/format/model.md describes it.

#include <string_view>

#include "msa/base/json.h"

namespace msa::model {

/// The key of config.json that says how matrices are kept.
constexpr const char* kQuantizationKey = "quantization_config";

/// Its value where the matrices of the layers are int8 with one scale a row.
Json int8_config();

/// Checks a value of other writers: compressed-tensors of the format int-quantized, whose weights
/// are symmetric integers of 8 bits with one scale a row, and nothing else is quantised. Throws
/// Error(kInvalidFormat) naming `what`, the key, what was wanted and what came.
void expect_int8_config(const Json& json, std::string_view what);

}  // namespace msa::model
