#include "msa/storage/stored_values.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/storage/int8_rows.h"

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

void expect_numbers(const SafetensorsFile& file, const std::string& name) {
  const DataType type = file.tensor(name).type;
  if (type != DataType::kF32 && type != DataType::kBF16 && type != DataType::kF16) {
    throw Error(ErrorCode::kInvalidFormat, file.path().string(), ": tensor \"", name,
                "\" must be F32, BF16 or F16, got ", data_type_name(type));
  }
}

/// Reads pieces of a tensor: as stored, or of I8 the products with the scales in float32.
class PieceReader {
 public:
  PieceReader(const StoredTensor& tensor, ValueRange range)
      : tensor_(tensor), type_(tensor.info().type) {
    if (type_ != DataType::kI8 || range.count == 0) return;
    columns_ = tensor.info().shape[1];
    first_row_ = range.first / columns_;
    const int64_t end_row = (range.first + range.count + columns_ - 1) / columns_;
    scales_ = read_scales(tensor, first_row_, end_row - first_row_);
  }

  /// Of the values that read gives.
  DataType type() const { return type_ == DataType::kI8 ? DataType::kF32 : type_; }

  const std::byte* read(int64_t first, int64_t count) {
    const auto bytes = static_cast<uint64_t>(data_type_bytes(type_));
    stored_.resize(static_cast<uint64_t>(count) * bytes);
    tensor_.file->read_part(tensor_.name, static_cast<uint64_t>(first) * bytes, stored_);
    if (type_ != DataType::kI8) return stored_.data();
    products_.resize(stored_.size());
    const std::span in(reinterpret_cast<const int8_t*>(stored_.data()), stored_.size());
    for (int64_t done = 0; done < count;) {
      const int64_t row = (first + done) / columns_;
      const auto part =
          static_cast<uint64_t>(std::min(count - done, (row + 1) * columns_ - (first + done)));
      const auto begin = static_cast<uint64_t>(done);
      dequantize_int8(in.subspan(begin, part), scales_[static_cast<uint64_t>(row - first_row_)],
                      std::span(products_).subspan(begin, part));
      done += static_cast<int64_t>(part);
    }
    return reinterpret_cast<const std::byte*>(products_.data());
  }

 private:
  const StoredTensor& tensor_;
  const DataType type_;
  int64_t columns_ = 0;
  int64_t first_row_ = 0;
  std::vector<float> scales_;
  std::vector<std::byte> stored_;
  std::vector<float> products_;
};

}  // namespace

void append_values(const StoredTensor& tensor, ValueRange range, DataType type,
                   const Append& append) {
  const DataType from = tensor.info().type;
  if (from != DataType::kI8) expect_numbers(*tensor.file, tensor.name);
  MSA_CHECK(
      (type == from && from != DataType::kI8) || type == DataType::kF32 || type == DataType::kBF16,
      "values are written as F32, BF16 or as they are stored, got ", data_type_name(type));
  const auto to_bytes = static_cast<uint64_t>(data_type_bytes(type));
  const auto room = static_cast<uint64_t>(std::min(kPieceValues, range.count));
  PieceReader reader(tensor, range);
  std::vector<std::byte> out(room * to_bytes);
  for (int64_t done = 0; done < range.count;) {
    const int64_t count = std::min(kPieceValues, range.count - done);
    if (!convert(reader.type(), reader.read(range.first + done, count), count, type, out.data())) {
      throw Error(ErrorCode::kInvalidFormat, tensor.file->path().string(), ": tensor \"",
                  tensor.name, "\" holds a value that is not finite",
                  type == from ? std::string() : " as " + std::string(data_type_name(type)));
    }
    append(std::span(out).first(static_cast<uint64_t>(count) * to_bytes));
    done += count;
  }
}

std::vector<float> read_scales(const StoredTensor& tensor, int64_t first, int64_t count) {
  std::vector<float> scales;
  append_values({.file = tensor.scale_file, .name = tensor.scale_name()},
                {.first = first, .count = count}, DataType::kF32,
                [&](std::span<const std::byte> bytes) {
                  const size_t before = scales.size();
                  scales.resize(before + bytes.size() / sizeof(float));
                  std::memcpy(scales.data() + before, bytes.data(), bytes.size());
                });
  if (std::ranges::any_of(scales, [](float scale) { return scale < 0; })) {
    throw Error(ErrorCode::kInvalidFormat, tensor.scale_file->path().string(), ": tensor \"",
                tensor.scale_name(), "\" holds a scale that is negative");
  }
  return scales;
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
