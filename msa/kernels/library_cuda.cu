// The table of the library, and what it needs beside the kernels: device, memory, copies.

#include <cstring>

#include "msa/kernels/cuda_library.h"
#include "msa/kernels/device_code.cuh"

namespace msa::kernels {
namespace {

constexpr int kLowestCapability = 80;

void expect_success(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it does not stand in the way of what comes next
  throw Error(ErrorCode::kDevice, what, ": ", cudaGetErrorString(error));
}

void find_device(GpuFacts& facts) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    throw Error(ErrorCode::kDevice,
                "no GPU: there is no NVIDIA driver, or one that is too old for "
                "CUDA ",
                CUDART_VERSION / 1000, ".", CUDART_VERSION % 1000 / 10);
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    throw Error(ErrorCode::kDevice, "no GPU: the driver knows none");
  }
  expect_success(error, "no GPU");
  cudaDeviceProp properties;
  expect_success(cudaGetDeviceProperties(&properties, 0), "no GPU");
  std::strncpy(facts.name, properties.name, sizeof facts.name - 1);
  facts.capability = 10 * properties.major + properties.minor;
  facts.multiprocessors = properties.multiProcessorCount;
  if (facts.capability < kLowestCapability) {
    throw Error(ErrorCode::kDevice, "no GPU: ", facts.name, " has compute capability ",
                properties.major, ".", properties.minor, ", 8.0 or more is needed");
  }
  size_t free_bytes = 0;
  size_t memory_bytes = 0;
  expect_success(cudaMemGetInfo(&free_bytes, &memory_bytes), "no GPU");
  facts.free_bytes = static_cast<int64_t>(free_bytes);
  facts.memory_bytes = static_cast<int64_t>(memory_bytes);
}

void* allocate(int64_t num_bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, static_cast<size_t>(num_bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  expect_success(error, "cudaMalloc");
  return memory;
}

void release(void* memory) { cudaFree(memory); }

void copy(void* to, const void* from, int64_t num_bytes) {
  expect_success(cudaMemcpy(to, from, static_cast<size_t>(num_bytes), cudaMemcpyDefault),
                 "cudaMemcpy");
}

void synchronize() { expect_success(cudaDeviceSynchronize(), "the GPU failed"); }

constexpr int kThreads = 512;
constexpr int kLoads = 8;  // in flight, of 16 bytes

__global__ void __launch_bounds__(kThreads)
    read_all_kernel(const uint4* memory, int64_t count, uint32_t* sum) {
  uint32_t mine = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (; i + (kLoads - 1) * step < count; i += kLoads * step) {
    uint4 part[kLoads];
#pragma unroll
    for (int l = 0; l < kLoads; ++l) part[l] = __ldcs(memory + i + l * step);
#pragma unroll
    for (int l = 0; l < kLoads; ++l) mine ^= part[l].x ^ part[l].y ^ part[l].z ^ part[l].w;
  }
  for (; i < count; i += step) {
    const uint4 part = __ldcs(memory + i);
    mine ^= part.x ^ part.y ^ part.z ^ part.w;
  }
  if (mine == 0x9e3779b9U) atomicXor(sum, mine);  // so that no load can be left out
}

void read_all(const void* memory, int64_t num_bytes, uint32_t* sum, CudaStream stream) {
  const int blocks = 4 * device_attribute(cudaDevAttrMultiProcessorCount);
  read_all_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const uint4*>(memory), num_bytes / 16, sum);
  expect_launched("read_all");
}

}  // namespace
}  // namespace msa::kernels

extern "C" const msa::kernels::CudaLibrary* msa_cuda_library() {
  using namespace msa::kernels;
  static const CudaLibrary library{kCudaLibraryVersion,
                                   find_device,
                                   allocate,
                                   release,
                                   copy,
                                   synchronize,
                                   read_all,
                                   pool_chunks_cuda,
                                   route_batch_workspace_bytes,
                                   route_batch_cuda};
  return &library;
}
