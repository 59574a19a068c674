#pragma once
// Which keys each sequence sees: rows of a table of all keys of a layer.

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "msa/autograd/gather_rows.h"
#include "msa/train/step_input.h"

namespace msa::train {

/// The keys that the sequences see, one sequence after the other. The table holds the keys of the
/// sequences' own tokens and, behind them, those of the memory's chunks.
struct KeyRows {
  autograd::RowsToGather rows;  // M of the table
  bool is_table = false;        // the table's rows as they are; `rows` is empty
  at::Tensor offsets;           // [S + 1] int32
  int64_t longest = 0;
};

/// Head and own tokens for those who are asked, own tokens for the others.
KeyRows own_key_rows(const StepInput& input);

/// The same with the chunks of `selected` [A, K] int64 (places of documents) between head and own
/// tokens; the memory has num_chunks. Waits for the device.
KeyRows selected_key_rows(const StepInput& input, const at::Tensor& selected, int64_t num_chunks);

}  // namespace msa::train
