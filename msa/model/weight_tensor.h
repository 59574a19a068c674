#pragma once
// A stored weight as a tensor.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "msa/storage/digest.h"
#include "msa/storage/stored_values.h"

namespace msa::model {

/// The weight in bfloat16 if it is stored so, else in float32, which float16 and the products of
/// int8 and scale widen to. `shape` is that of its values. Adds name, type, shape and bytes of what
/// is stored to `digester`, if not null. Throws Error(kInvalidFormat) naming file and tensor if a
/// value is not finite or a scale negative.
at::Tensor weight_tensor(const storage::StoredTensor& weight, const std::vector<int64_t>& shape,
                         storage::Digester* digester);

}  // namespace msa::model
