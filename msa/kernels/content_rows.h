#pragma once
// Rows of K or V as memories store them: plain numbers, or small integers in groups that share a
// scale.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace msa::kernels {

enum class ContentType : uint8_t {
  kFloat32,
  kBFloat16,
  kInt8,  // groups of one kv head's D values
  kInt4,  // groups of kInt4Group values
};
constexpr int kInt4Group = 32;

/// The names used in flags, banks and JSON output.
constexpr std::string_view name_of(ContentType type) {
  return type == ContentType::kFloat32    ? "f32"
         : type == ContentType::kBFloat16 ? "bf16"
         : type == ContentType::kInt8     ? "int8"
                                          : "int4";
}

/// The type of one of these names.
constexpr ContentType content_type_of(std::string_view name) {
  return name == "f32"    ? ContentType::kFloat32
         : name == "bf16" ? ContentType::kBFloat16
         : name == "int8" ? ContentType::kInt8
                          : ContentType::kInt4;
}

constexpr bool is_quantized(ContentType type) {
  return type == ContentType::kInt8 || type == ContentType::kInt4;
}

/// How a row of F = G * D values is stored. Plain numbers stand side by side. A quantised row has
/// its integers, from scale_offset on the groups' scales as bfloat16, and zeros that fill each of
/// both up to whole 16 bytes; a value is its integer times the scale of its group.
/// Values of int4 are two to a byte in two's complement, that of even place in the lower half.
struct ContentLayout {
  int64_t num_values = 0;    // F
  int64_t group_values = 0;  // of a group; the row's last one may be shorter. 0: no scales
  int64_t scale_offset = 0;  // bytes
  int64_t row_bytes = 0;

  constexpr int64_t num_groups() const {
    return group_values == 0 ? 0 : (num_values + group_values - 1) / group_values;
  }
};

constexpr ContentLayout content_layout(ContentType type, int64_t num_kv_heads, int64_t head_dim) {
  constexpr int64_t kUnitBytes = 16;
  constexpr int64_t kScaleBytes = 2;
  const auto filled_up = [](int64_t bytes) {
    return (bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
  };
  ContentLayout layout;
  layout.num_values = num_kv_heads * head_dim;
  if (!is_quantized(type)) {
    layout.scale_offset = layout.num_values * (type == ContentType::kFloat32 ? 4 : 2);
    layout.row_bytes = layout.scale_offset;
    return layout;
  }
  const bool is_int8 = type == ContentType::kInt8;
  layout.group_values = is_int8 ? head_dim : kInt4Group;
  layout.scale_offset = filled_up(is_int8 ? layout.num_values : (layout.num_values + 1) / 2);
  // num_groups(), without a division by what is not known: a GPU takes long for one.
  const int64_t num_groups =
      is_int8 ? num_kv_heads : (layout.num_values + kInt4Group - 1) / kInt4Group;
  layout.row_bytes = layout.scale_offset + filled_up(num_groups * kScaleBytes);
  return layout;
}

struct QuantizeContentParams {
  const float* row = nullptr;  // [N, F], finite; sizes below 1e38 for int8 and int4
  int64_t num_rows = 0;        // N
  int64_t num_kv_heads = 0;    // G
  int64_t head_dim = 0;        // D
  ContentType type = ContentType::kFloat32;
  std::byte* out = nullptr;  // [N, row_bytes], all bytes are written
};

/// kFloat32 copies, kBFloat16 rounds to nearest, ties to even. kInt8: scale is the smallest
/// bfloat16 of at least max |x| / 127. kInt4: scale is x / d, rounded, of the first x of the
/// largest size and that d among -8, -8.5, -7.5 and -9 with which the squares of the group's errors
/// sum up to least (the first of equals); so scales may be negative. Integers are x / scale rounded
/// to nearest, ties to even, in [-127, 127] and [-8, 7]; a scale of 0 makes them 0. The same bytes
/// on every machine: every operation is rounded as IEEE 754 says, and sums have a fixed order.
void quantize_content(const QuantizeContentParams& params);

struct DequantizeContentParams {
  const std::byte* row = nullptr;  // [N, row_bytes]
  int64_t num_rows = 0;            // N
  int64_t num_kv_heads = 0;        // G
  int64_t head_dim = 0;            // D
  ContentType type = ContentType::kFloat32;
  float* out = nullptr;  // [N, F], written
};

/// Exact: a float32 holds every stored value.
void dequantize_content(const DequantizeContentParams& params);

}  // namespace msa::kernels
