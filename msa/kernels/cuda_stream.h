#pragma once
// CUDA seen from plain C++: streams and events without the runtime's headers.

namespace msa::kernels {

/// A cudaStream_t; null is the default stream.
using CudaStream = void*;

/// A cudaEvent_t.
using CudaEvent = void*;

}  // namespace msa::kernels
