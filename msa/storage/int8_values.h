#pragma once
// A stored matrix handed on as int8 and scales, as int8_rows.h makes them.

#include "msa/storage/stored_values.h"

namespace msa::storage {

/// The type of the scales of a matrix that is handed on as int8: BF16, or that of its own scales.
DataType int8_scale_type(const StoredTensor& matrix);

/// Hands on one scale for each row. `range` must hold whole rows of a matrix [rows, columns]. What
/// is stored as I8 keeps its scales. Holds some megabytes and a row. Throws as append_values.
void append_int8_scales(const StoredTensor& matrix, ValueRange range, const Append& append);

/// The same for the values, as I8. What is stored as I8 is handed on as it is.
void append_int8(const StoredTensor& matrix, ValueRange range, const Append& append);

}  // namespace msa::storage
