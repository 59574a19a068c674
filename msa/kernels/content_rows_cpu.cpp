#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "msa/kernels/content_rows.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr float kInt4Divisors[] = {-8.0F, -8.5F, -7.5F, -9.0F};

MSA_INLINE BFloat16 rounded_up(float value) {  // not negative
  const auto bits = std::bit_cast<uint32_t>(value);
  return {static_cast<uint16_t>((bits + 0xffffU) >> 16)};
}

/// Sizes of floats are ordered as their bits are.
MSA_INLINE float largest_size(const float* x, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffU);
  }
  return std::bit_cast<float>(largest);
}

MSA_INLINE BFloat16 quantize_int8(const float* x, int64_t count, std::byte* out) {
  const BFloat16 scale = rounded_up(largest_size(x, count) / 127.0F);
  const float step = widen(scale);
  if (step == 0) {
    std::fill_n(out, count, std::byte{0});
    return scale;
  }
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<std::byte>(static_cast<int8_t>(__builtin_rintf(x[i] / step)));
  }
  return scale;
}

MSA_INLINE float int4_of(float x, float step) {
  const float nearest = __builtin_rintf(x / step);
  return nearest > 7.0F ? 7.0F : (nearest < -8.0F ? -8.0F : nearest);
}

/// Products are exact, in float32 of integer and step as in float64 of two errors: whether the
/// compiler fuses them with sums changes nothing.
MSA_INLINE double squared_error(const float* x, float step) {
  constexpr int kSums = 8;
  double sum[kSums] = {};
  for (int i = 0; i < kInt4Group; i += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const double error = x[i + j] - int4_of(x[i + j], step) * step;
      sum[j] += error * error;
    }
  }
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sum[j] += sum[j + half];
  }
  return sum[0];
}

MSA_INLINE BFloat16 quantize_int4(const float* group, int64_t count, std::byte* out) {
  float x[kInt4Group] = {};
  std::copy_n(group, count, x);
  const float size = largest_size(x, kInt4Group);
  const float largest =
      *std::find_if(x, x + kInt4Group, [&](float value) { return std::fabs(value) == size; });
  BFloat16 scale;
  double least = 0;
  for (const float divisor : kInt4Divisors) {
    BFloat16 next;
    narrow(largest / divisor, next);
    if (widen(next) == 0) continue;
    const double error = squared_error(x, widen(next));
    if (widen(scale) != 0 && !(error < least)) continue;
    scale = next;
    least = error;
  }
  const float step = widen(scale);
  int8_t value[kInt4Group] = {};
  if (step != 0) {
    for (int i = 0; i < kInt4Group; ++i) value[i] = static_cast<int8_t>(int4_of(x[i], step));
  }
  for (int64_t i = 0; i < (count + 1) / 2; ++i) {
    out[i] = static_cast<std::byte>((value[2 * i] & 15) | (value[2 * i + 1] & 15) << 4);
  }
  return scale;
}

MSA_INLINE void quantize_groups(const float* row, const ContentLayout& layout, bool is_int8,
                                std::byte* out) {
  std::fill_n(out, layout.row_bytes, std::byte{0});
  for (int64_t g = 0; g < layout.num_groups(); ++g) {
    const int64_t first = g * layout.group_values;
    const int64_t count = std::min(layout.group_values, layout.num_values - first);
    const BFloat16 scale = is_int8 ? quantize_int8(row + first, count, out + first)
                                   : quantize_int4(row + first, count, out + first / 2);
    std::memcpy(out + layout.scale_offset + g * static_cast<int64_t>(sizeof scale), &scale,
                sizeof scale);
  }
}

template <int kLanes>
MSA_INLINE void quantize_content_lanes(const QuantizeContentParams& p) {
  const ContentLayout layout = content_layout(p.type, p.num_kv_heads, p.head_dim);
  const int64_t num_values = p.num_rows * layout.num_values;
  switch (p.type) {
    case ContentType::kFloat32:
      std::memcpy(p.out, p.row, static_cast<size_t>(num_values) * sizeof(float));
      break;
    case ContentType::kBFloat16:
      for (int64_t i = 0; i < num_values; ++i) {
        narrow(p.row[i], reinterpret_cast<BFloat16*>(p.out)[i]);
      }
      break;
    case ContentType::kInt8:
    case ContentType::kInt4:
      for (int64_t n = 0; n < p.num_rows; ++n) {
        quantize_groups(p.row + n * layout.num_values, layout, p.type == ContentType::kInt8,
                        p.out + n * layout.row_bytes);
      }
      break;
  }
}

MSA_INLINE void dequantize_groups(const std::byte* row, const ContentLayout& layout, bool is_int8,
                                  float* out) {
  for (int64_t g = 0; g < layout.num_groups(); ++g) {
    const int64_t first = g * layout.group_values;
    const int64_t end = std::min(first + layout.group_values, layout.num_values);
    BFloat16 scale;
    std::memcpy(&scale, row + layout.scale_offset + g * static_cast<int64_t>(sizeof scale),
                sizeof scale);
    const float step = widen(scale);
    for (int64_t i = first; i < end; ++i) {
      // The four bits that are wanted go to the upper end of a byte, and come back with their sign.
      const int value = is_int8 ? static_cast<int8_t>(row[i])
                                : static_cast<int8_t>(row[i / 2] << (i % 2 == 0 ? 4 : 0)) >> 4;
      out[i] = static_cast<float>(value) * step;
    }
  }
}

template <int kLanes>
MSA_INLINE void dequantize_content_lanes(const DequantizeContentParams& p) {
  const ContentLayout layout = content_layout(p.type, p.num_kv_heads, p.head_dim);
  const int64_t num_values = p.num_rows * layout.num_values;
  switch (p.type) {
    case ContentType::kFloat32:
      std::memcpy(p.out, p.row, static_cast<size_t>(num_values) * sizeof(float));
      break;
    case ContentType::kBFloat16:
      for (int64_t i = 0; i < num_values; ++i) {
        p.out[i] = widen(reinterpret_cast<const BFloat16*>(p.row)[i]);
      }
      break;
    case ContentType::kInt8:
    case ContentType::kInt4:
      for (int64_t n = 0; n < p.num_rows; ++n) {
        dequantize_groups(p.row + n * layout.row_bytes, layout, p.type == ContentType::kInt8,
                          p.out + n * layout.num_values);
      }
      break;
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(quantize_content, (const QuantizeContentParams& params), (params))
MSA_VECTOR_FUNCTION(dequantize_content, (const DequantizeContentParams& params), (params))

}  // namespace msa::kernels
