#pragma once
// How numbers are stored in memories, weights and caches.

#include <cstdint>
#include <string_view>

namespace msa::kernels {

enum class NumberType : uint8_t {
  kFloat32,
  kBFloat16,
  kInt8,  // with one float32 scale a vector
};

constexpr int64_t bytes_of(NumberType type) {
  return type == NumberType::kFloat32 ? 4 : type == NumberType::kBFloat16 ? 2 : 1;
}

/// "f32", "bf16", "int8": the names used in flags, banks and JSON output.
constexpr std::string_view name_of(NumberType type) {
  return type == NumberType::kFloat32 ? "f32" : type == NumberType::kBFloat16 ? "bf16" : "int8";
}

/// The type of one of these names.
constexpr NumberType number_type_of(std::string_view name) {
  return name == "f32"    ? NumberType::kFloat32
         : name == "bf16" ? NumberType::kBFloat16
                          : NumberType::kInt8;
}

}  // namespace msa::kernels
