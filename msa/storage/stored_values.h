#pragma once
// Values of a stored tensor handed on piece by piece, rounded to another type on the way.

#include <cstdint>
#include <string>

#include "msa/storage/safetensors.h"

namespace msa::storage {

/// A part of a tensor: values [first, first + count) of it, in row-major order.
struct ValueRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// Hands on values as `type`, F32 or BF16 (round to nearest, ties to even), or in the type that
/// they are stored in. Holds some megabytes. Throws Error(kInvalidFormat) naming the tensor if it
/// is not F32, BF16 or F16, or if a value is not finite, as stored or once it is rounded.
void append_values(const SafetensorsFile& file, const std::string& name, ValueRange range,
                   DataType type, const Append& append);

/// Hands on a tensor of any type byte by byte.
void append_bytes(const SafetensorsFile& file, const std::string& name, const Append& append);

}  // namespace msa::storage
