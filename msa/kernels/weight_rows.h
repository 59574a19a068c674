#pragma once
// How the rows of a matrix are stored for products with one vector: plain, or in small integers.

#include <cstdint>
#include <string_view>

#include "msa/kernels/content_rows.h"

namespace msa::kernels {

enum class WeightType : uint8_t {
  kBFloat16,
  kInt8,  // a scale a row
  kInt4,  // a scale for 32 columns
};

/// "bf16", "int8", "int4": the names used in flags and JSON output.
constexpr std::string_view name_of(WeightType type) {
  return type == WeightType::kBFloat16 ? "bf16" : type == WeightType::kInt8 ? "int8" : "int4";
}

/// The type of one of these names.
constexpr WeightType weight_type_of(std::string_view name) {
  return name == "bf16"   ? WeightType::kBFloat16
         : name == "int8" ? WeightType::kInt8
                          : WeightType::kInt4;
}

/// Where the type's numbers stand. A quantised row is stored as content of one head of K values is.
/// With a sign and one scale, groups of 32 lose less in int4 than groups of 64 with an offset,
/// which take as many bytes.
constexpr ContentType content_type_of(WeightType type) {
  return type == WeightType::kBFloat16 ? ContentType::kBFloat16
         : type == WeightType::kInt8   ? ContentType::kInt8
                                       : ContentType::kInt4;
}
constexpr ContentLayout weight_layout(WeightType type, int64_t num_columns) {
  return content_layout(content_type_of(type), 1, num_columns);
}

/// Columns come in multiples of this.
constexpr int64_t weight_column_step(WeightType type) {
  return type == WeightType::kBFloat16 ? 8 : 16;
}

}  // namespace msa::kernels
