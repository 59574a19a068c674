#pragma once
// What libmsa_cuda.so offers to a program that loads it: one symbol, which leads to a table.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/route_batch.h"

namespace msa::kernels {

struct GpuFacts {
  char name[256] = {};
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;
};

/// Functions throw Error(kDevice) if the device fails, and what their declarations say.
struct CudaLibrary {
  int64_t version = 0;  // kCudaLibraryVersion of the library

  /// The first device. Where none can be used the error says why.
  void (*find_device)(GpuFacts& facts) = nullptr;

  /// Null if there is no room.
  void* (*allocate)(int64_t num_bytes) = nullptr;
  void (*release)(void* memory) = nullptr;

  /// Between host and device or within the device; returns when the bytes are there.
  void (*copy)(void* to, const void* from, int64_t num_bytes) = nullptr;

  /// Waits for all that was queued; failures of kernels show here.
  void (*synchronize)() = nullptr;

  /// Reads every byte once and does nothing else: the limit for a kernel that must. num_bytes is a
  /// multiple of 16; `sum` is device memory for one word.
  void (*read_all)(const void* memory, int64_t num_bytes, uint32_t* sum,
                   CudaStream stream) = nullptr;

  decltype(&pool_chunks_cuda) pool_chunks = nullptr;
  decltype(&kernels::route_batch_workspace_bytes) route_batch_workspace_bytes = nullptr;
  decltype(&route_batch_cuda) route_batch = nullptr;
};

/// Raised with every change of the table or of a structure that it uses.
constexpr int64_t kCudaLibraryVersion = 1;
constexpr const char* kCudaLibrarySymbol = "msa_cuda_library";

}  // namespace msa::kernels

/// Never fails, and touches no device.
extern "C" const msa::kernels::CudaLibrary* msa_cuda_library();
