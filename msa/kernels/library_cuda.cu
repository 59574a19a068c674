// The table of the library, and what it needs beside the kernels: device, memory, copies.

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

#include "msa/kernels/cuda_library.h"
#include "msa/kernels/device_code.cuh"

namespace msa::kernels {
namespace {

constexpr int kLowestCapability = 80;

void find_device(GpuFacts& facts) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
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

/// For what does not fail: an error is forgotten, so that it is not taken for that of a later call.
void forget(cudaError_t /*error*/) { cudaGetLastError(); }

void release(void* memory) { forget(cudaFree(memory)); }

void copy(void* to, const void* from, int64_t num_bytes) {
  expect_success(cudaMemcpy(to, from, static_cast<size_t>(num_bytes), cudaMemcpyDefault),
                 "cudaMemcpy");
  // From pageable memory the bytes may still be on their way, and within the device it is not
  // waited for at all.
  expect_success(cudaStreamSynchronize(nullptr), "cudaMemcpy");
}

void synchronize() { expect_success(cudaDeviceSynchronize(), "the GPU failed"); }

// Large pages are pinned twice as fast as small ones.
constexpr size_t kLargePage = size_t{2} << 20;

size_t whole_pages(int64_t num_bytes) {
  return (static_cast<size_t>(num_bytes) + kLargePage - 1) / kLargePage * kLargePage;
}

/// Writes to every page on several threads. Pinning would let the system clear them all on one.
void touch_pages(std::byte* memory, size_t size) {
  constexpr size_t kSmallPage = 4096;
  constexpr size_t kLeast = size_t{1} << 30;
  if (size < kLeast) return;
  const size_t num_threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 16);
  const size_t share = whole_pages(static_cast<int64_t>((size + num_threads - 1) / num_threads));
  std::vector<std::thread> threads;
  try {
    for (size_t begin = 0; begin < size; begin += share) {
      threads.emplace_back([memory, begin, end = std::min(begin + share, size)] {
        for (size_t i = begin; i < end; i += kSmallPage) {
          *static_cast<volatile std::byte*>(memory + i) = std::byte{0};
        }
      });
    }
  } catch (const std::system_error&) {  // NOLINT(bugprone-empty-catch): pinning does the rest
  }
  for (std::thread& thread : threads) thread.join();
}

void* allocate_host(int64_t num_bytes) {
  const size_t size = whole_pages(num_bytes);
  void* mapping = ::mmap(nullptr, size + kLargePage, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  const size_t skipped = kLargePage - reinterpret_cast<uintptr_t>(mapping) % kLargePage;
  auto* memory = static_cast<std::byte*>(mapping) + skipped;
  ::munmap(mapping, skipped);
  if (skipped < kLargePage) ::munmap(memory + size, kLargePage - skipped);
  ::madvise(memory, size, MADV_HUGEPAGE);
  touch_pages(memory, size);
  const cudaError_t error =
      cudaHostRegister(memory, size, cudaHostRegisterPortable | cudaHostRegisterMapped);
  void* on_gpu = nullptr;
  if (error == cudaSuccess && cudaHostGetDevicePointer(&on_gpu, memory, 0) == cudaSuccess &&
      on_gpu == memory) {
    return memory;
  }
  if (error == cudaSuccess) forget(cudaHostUnregister(memory));
  ::munmap(memory, size);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  expect_success(error, "cudaHostRegister");
  throw Error(ErrorCode::kDevice, "the GPU sees the host's memory at other addresses");
}

void release_host(void* memory, int64_t num_bytes) {
  forget(cudaHostUnregister(memory));
  ::munmap(memory, whole_pages(num_bytes));
}

CudaStream create_stream(bool is_urgent) {
  int lowest = 0;
  int highest = 0;
  expect_success(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaStreamCreate");
  cudaStream_t stream = nullptr;
  expect_success(
      cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, is_urgent ? highest : lowest),
      "cudaStreamCreate");
  return stream;
}

void destroy_stream(CudaStream stream) {
  forget(cudaStreamDestroy(static_cast<cudaStream_t>(stream)));
}

void synchronize_stream(CudaStream stream) {
  expect_success(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "the GPU failed");
}

CudaEvent create_event() {
  cudaEvent_t event = nullptr;
  expect_success(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

void destroy_event(CudaEvent event) { forget(cudaEventDestroy(static_cast<cudaEvent_t>(event))); }

void record_event(CudaEvent event, CudaStream stream) {
  expect_success(
      cudaEventRecord(static_cast<cudaEvent_t>(event), static_cast<cudaStream_t>(stream)),
      "cudaEventRecord");
}

void synchronize_event(CudaEvent event) {
  expect_success(cudaEventSynchronize(static_cast<cudaEvent_t>(event)), "the GPU failed");
}

void await_event(CudaEvent event, CudaStream stream) {
  expect_success(
      cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(event), 0),
      "cudaStreamWaitEvent");
}

void copy_async(void* to, const void* from, int64_t num_bytes, CudaStream stream) {
  expect_success(cudaMemcpyAsync(to, from, static_cast<size_t>(num_bytes), cudaMemcpyDefault,
                                 static_cast<cudaStream_t>(stream)),
                 "cudaMemcpyAsync");
}

void clear(void* memory, int64_t num_bytes, CudaStream stream) {
  expect_success(
      cudaMemsetAsync(memory, 0, static_cast<size_t>(num_bytes), static_cast<cudaStream_t>(stream)),
      "cudaMemsetAsync");
}

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
  static const CudaLibrary library = [] {
    CudaLibrary all;
    all.version = kCudaLibraryVersion;
    all.find_device = find_device;
    all.allocate = allocate;
    all.release = release;
    all.copy = copy;
    all.synchronize = synchronize;
    all.read_all = read_all;
    all.allocate_host = allocate_host;
    all.release_host = release_host;
    all.create_stream = create_stream;
    all.destroy_stream = destroy_stream;
    all.synchronize_stream = synchronize_stream;
    all.create_event = create_event;
    all.destroy_event = destroy_event;
    all.record_event = record_event;
    all.await_event = await_event;
    all.synchronize_event = synchronize_event;
    all.copy_async = copy_async;
    all.clear = clear;
    all.begin_recording = begin_recording_cuda;
    all.end_recording = end_recording_cuda;
    all.abandon_recording = abandon_recording_cuda;
    all.launch_graph = launch_graph_cuda;
    all.destroy_graph = destroy_graph_cuda;
    all.create_timer = create_timer_cuda;
    all.destroy_timer = destroy_timer_cuda;
    all.mark_timer = mark_timer_cuda;
    all.read_timer = read_timer_cuda;
    all.pool_chunks = pool_chunks_cuda;
    all.route_batch_workspace_bytes = route_batch_workspace_bytes;
    all.route_batch = route_batch_cuda;
    all.pack_keys = pack_keys_cuda;
    all.gather_records = gather_records_cuda;
    all.set_slots = set_slots_cuda;
    all.embed_rows = embed_rows_cuda;
    all.rms_norm = rms_norm_cuda;
    all.swiglu = swiglu_cuda;
    all.spread_heads = spread_heads_cuda;
    all.fold_queries = fold_queries_cuda;
    all.device_gemm = device_gemm_cuda;
    all.gemv = gemv_cuda;
    all.quantize_weights = quantize_weights_cuda;
    all.packed_attention = packed_attention_cuda;
    all.step_attention = step_attention_cuda;
    all.fused_step_fits = fused_step_fits;
    all.fused_step_workspace_bytes = fused_step_workspace_bytes;
    all.fused_step = fused_step_cuda;
    all.place_tokens = place_tokens_cuda;
    all.begin_step = begin_step_cuda;
    all.store_row = store_row_cuda;
    all.norm_rows = norm_rows_cuda;
    all.norm_rows_gradient_workspace_bytes = norm_rows_gradient_workspace_bytes;
    all.norm_rows_gradient = norm_rows_gradient_cuda;
    all.norm_heads = norm_heads_cuda;
    all.norm_heads_gradient_workspace_bytes = norm_heads_gradient_workspace_bytes;
    all.norm_heads_gradient = norm_heads_gradient_cuda;
    all.swiglu_gradient = swiglu_gradient_cuda;
    all.token_loss = token_loss_cuda;
    all.pool_rows = pool_rows_cuda;
    all.pool_rows_gradient = pool_rows_gradient_cuda;
    all.unit_heads = unit_heads_cuda;
    all.unit_heads_gradient = unit_heads_gradient_cuda;
    all.sum_rows = sum_rows_cuda;
    return all;
  }();
  return &library;
}
