#include "msa/storage/stored_values.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"

namespace msa::storage {
namespace {

constexpr int64_t kPieceValues = int64_t{1} << 20;
constexpr uint64_t kPieceBytes = uint64_t{4} << 20;

// The exponents of float32 and float16: all ones in what is not finite.
constexpr uint32_t kExponent = 0x7f800000;
constexpr uint32_t kExponent16 = 0x7c00;

template <typename Bits>
Bits load(const std::byte* values, int64_t i) {
  Bits bits{};
  std::memcpy(&bits, values + i * static_cast<int64_t>(sizeof(bits)), sizeof(bits));
  return bits;
}

template <typename Bits>
void store(std::byte* values, int64_t i, Bits bits) {
  std::memcpy(values + i * static_cast<int64_t>(sizeof(bits)), &bits, sizeof(bits));
}

// The bits of a stored value in float32.

uint32_t widen_bfloat16(uint16_t bits) { return static_cast<uint32_t>(bits) << 16; }

/// The exponent moves to float32's place and is scaled to float32's bias, which is exact for the
/// smallest numbers too.
uint32_t widen_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffU) << 13;
  if ((bits & kExponent16) == kExponent16) return sign | kExponent | magnitude;
  return sign | __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) * 0x1p112F);
}

/// Writes the values whose float32 bits `bits_of` gives. False if one is not finite when written.
template <typename BitsOf>
bool write_float32(int64_t count, BitsOf bits_of, std::byte* out) {
  bool is_finite = true;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(i);
    is_finite &= (bits & kExponent) != kExponent;
    store(out, i, bits);
  }
  return is_finite;
}

template <typename BitsOf>
bool write_bfloat16(int64_t count, BitsOf bits_of, std::byte* out) {
  bool is_finite = true;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t bits = to_bfloat16(__builtin_bit_cast(float, bits_of(i))).bits;
    is_finite &= (widen_bfloat16(bits) & kExponent) != kExponent;
    store(out, i, bits);
  }
  return is_finite;
}

bool copy_float16(const std::byte* in, int64_t count, std::byte* out) {
  bool is_finite = true;
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = load<uint16_t>(in, i);
    is_finite &= (bits & kExponent16) != kExponent16;
    store(out, i, bits);
  }
  return is_finite;
}

bool convert(DataType from, const std::byte* in, int64_t count, DataType to, std::byte* out) {
  const auto write = [&](auto bits_of) {
    return to == DataType::kF32 ? write_float32(count, bits_of, out)
                                : write_bfloat16(count, bits_of, out);
  };
  if (from == DataType::kF32) return write([=](int64_t i) { return load<uint32_t>(in, i); });
  if (from == DataType::kBF16) {
    return write([=](int64_t i) { return widen_bfloat16(load<uint16_t>(in, i)); });
  }
  if (to == DataType::kF16) return copy_float16(in, count, out);
  return write([=](int64_t i) { return widen_float16(load<uint16_t>(in, i)); });
}

}  // namespace

void append_values(const SafetensorsFile& file, const std::string& name, ValueRange range,
                   DataType type, const Append& append) {
  const DataType from = file.tensor(name).type;
  if (from != DataType::kF32 && from != DataType::kBF16 && from != DataType::kF16) {
    throw Error(ErrorCode::kInvalidFormat, file.path().string(), ": tensor \"", name,
                "\" must be F32, BF16 or F16, got ", data_type_name(from));
  }
  MSA_CHECK(type == from || type == DataType::kF32 || type == DataType::kBF16,
            "values are written as F32, BF16 or as they are stored, got ", data_type_name(type));
  const auto from_bytes = static_cast<uint64_t>(data_type_bytes(from));
  const auto to_bytes = static_cast<uint64_t>(data_type_bytes(type));
  const auto room = static_cast<uint64_t>(std::min(kPieceValues, range.count));
  std::vector<std::byte> in(room * from_bytes);
  std::vector<std::byte> out(room * to_bytes);
  for (int64_t done = 0; done < range.count;) {
    const int64_t count = std::min(kPieceValues, range.count - done);
    const auto values = static_cast<uint64_t>(count);
    file.read_part(name, static_cast<uint64_t>(range.first + done) * from_bytes,
                   std::span(in).first(values * from_bytes));
    if (!convert(from, in.data(), count, type, out.data())) {
      throw Error(ErrorCode::kInvalidFormat, file.path().string(), ": tensor \"", name,
                  "\" holds a value that is not finite",
                  type == from ? std::string() : " as " + std::string(data_type_name(type)));
    }
    append(std::span(out).first(values * to_bytes));
    done += count;
  }
}

void append_bytes(const SafetensorsFile& file, const std::string& name, const Append& append) {
  const uint64_t num_bytes = file.tensor(name).num_bytes;
  std::vector<std::byte> piece(std::min(kPieceBytes, num_bytes));
  for (uint64_t done = 0; done < num_bytes;) {
    const auto part = std::span(piece).first(std::min(kPieceBytes, num_bytes - done));
    file.read_part(name, done, part);
    append(part);
    done += part.size();
  }
}

}  // namespace msa::storage
