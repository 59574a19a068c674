#pragma once
// Tensors of safetensors files.

#include <string>

#include "msa/storage/safetensors.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

/// The tensor on the CPU, side by side in memory: a copy only where it is not so already.
NamedTensor to_host(const NamedTensor& tensor);

/// What to write of a tensor of to_host, which must outlive it.
storage::TensorToWrite to_write(const NamedTensor& tensor);

/// A tensor of a file in its type. Throws Error(kInvalidFormat) naming it if it has a type that
/// nothing here uses.
at::Tensor read_tensor(const storage::SafetensorsFile& file, const std::string& name);

}  // namespace msa::train
