#pragma once
// Values of a stored tensor handed on piece by piece, rounded to another type on the way.

#include <cstdint>
#include <string>
#include <vector>

#include "msa/storage/safetensors.h"

namespace msa::storage {

/// A tensor of numbers: F32, BF16 or F16; or a matrix [rows, columns] of I8 whose row r counts in
/// units of scale r of the tensor NAME_scale [rows, 1] of one of the former. Files must outlive it.
struct StoredTensor {
  const SafetensorsFile* file = nullptr;
  std::string name;
  const SafetensorsFile* scale_file = nullptr;  // of I8

  const TensorInfo& info() const { return file->tensor(name); }
  std::string scale_name() const { return name + "_scale"; }
};

/// A part of a tensor: values [first, first + count) of it, in row-major order.
struct ValueRange {
  int64_t first = 0;
  int64_t count = 0;
};

/// Hands on values as `type`, F32 or BF16 (round to nearest, ties to even), or in the type that
/// they are stored in, unless that is I8. Of I8 the product with the scale is rounded to float32,
/// then to BF16. Holds some megabytes. Throws Error(kInvalidFormat) naming file and tensor if it is
/// of another type, if a value is not finite, as stored or once it is rounded, or as read_scales.
void append_values(const StoredTensor& tensor, ValueRange range, DataType type,
                   const Append& append);

/// Scales of the rows [first, first + count) of an I8 tensor. Throws Error(kInvalidFormat) naming
/// file and tensor if one is negative or not finite.
std::vector<float> read_scales(const StoredTensor& tensor, int64_t first, int64_t count);

/// Hands on a tensor of any type byte by byte.
void append_bytes(const SafetensorsFile& file, const std::string& name, const Append& append);

}  // namespace msa::storage
