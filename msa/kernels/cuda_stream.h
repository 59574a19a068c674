#pragma once
// CUDA seen from plain C++: a stream without the runtime's headers.

namespace msa::kernels {

/// A cudaStream_t; null is the default stream.
using CudaStream = void*;

}  // namespace msa::kernels
