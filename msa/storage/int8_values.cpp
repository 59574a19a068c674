#include "msa/storage/int8_values.h"

#include <algorithm>
#include <cstring>

#include "msa/base/error.h"
#include "msa/storage/int8_rows.h"

namespace msa::storage {
namespace {

constexpr int64_t kPieceValues = int64_t{1} << 20;

struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
  int64_t columns = 0;
};

RowRange rows_of(const StoredTensor& matrix, ValueRange range) {
  const std::vector<int64_t>& shape = matrix.info().shape;
  MSA_CHECK(shape.size() == 2 && shape[1] > 0 && range.first % shape[1] == 0 &&
                range.count % shape[1] == 0,
            "int8 has a scale for each row of a matrix, got ", range.count,
            " values of a tensor of shape ", shape_text(shape));
  return {.first = range.first / shape[1], .count = range.count / shape[1], .columns = shape[1]};
}

/// Calls use(values) with whole rows in float32, some megabytes or one row at a time.
template <typename Use>
void for_rows(const StoredTensor& matrix, const RowRange& rows, const Use& use) {
  const int64_t group = std::max<int64_t>(1, kPieceValues / rows.columns);
  std::vector<float> values;
  for (int64_t done = 0; done < rows.count; done += group) {
    const int64_t count = std::min(group, rows.count - done) * rows.columns;
    values.clear();
    append_values(matrix, {.first = (rows.first + done) * rows.columns, .count = count},
                  DataType::kF32, [&](std::span<const std::byte> bytes) {
                    const size_t before = values.size();
                    values.resize(before + bytes.size() / sizeof(float));
                    std::memcpy(values.data() + before, bytes.data(), bytes.size());
                  });
    use(std::span<const float>(values));
  }
}

}  // namespace

DataType int8_scale_type(const StoredTensor& matrix) {
  return matrix.info().type == DataType::kI8 ? matrix.scale_file->tensor(matrix.scale_name()).type
                                             : DataType::kBF16;
}

void append_int8_scales(const StoredTensor& matrix, ValueRange range, const Append& append) {
  const RowRange rows = rows_of(matrix, range);
  if (matrix.info().type == DataType::kI8) {
    read_scales(matrix, rows.first, rows.count);  // refuses what is negative
    append_values({.file = matrix.scale_file, .name = matrix.scale_name()},
                  {.first = rows.first, .count = rows.count}, int8_scale_type(matrix), append);
    return;
  }
  const auto columns = static_cast<size_t>(rows.columns);
  std::vector<BFloat16> scales;
  for_rows(matrix, rows, [&](std::span<const float> values) {
    scales.clear();
    for (size_t row = 0; row < values.size(); row += columns) {
      scales.push_back(int8_scale(values.subspan(row, columns)));
    }
    append(std::as_bytes(std::span(scales)));
  });
}

void append_int8(const StoredTensor& matrix, ValueRange range, const Append& append) {
  const RowRange rows = rows_of(matrix, range);
  std::vector<int8_t> out;
  if (matrix.info().type == DataType::kI8) {
    for (int64_t done = 0; done < range.count;) {
      out.resize(static_cast<size_t>(std::min(kPieceValues, range.count - done)));
      const auto bytes = std::as_writable_bytes(std::span(out));
      matrix.file->read_part(matrix.name, static_cast<uint64_t>(range.first + done), bytes);
      append(bytes);
      done += static_cast<int64_t>(out.size());
    }
    return;
  }
  const auto columns = static_cast<size_t>(rows.columns);
  for_rows(matrix, rows, [&](std::span<const float> values) {
    out.resize(values.size());
    for (size_t row = 0; row < values.size(); row += columns) {
      const auto part = values.subspan(row, columns);
      quantize_int8(part, int8_scale(part), std::span(out).subspan(row, columns));
    }
    append(std::as_bytes(std::span(out)));
  });
}

}  // namespace msa::storage
