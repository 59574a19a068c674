// One block a multiprocessor, all on the GPU at once. One thread of a block streams the block's
// rows of every matrix of the step through a ring in shared memory and waits for nothing but room
// there; the others go from one operation to the next, with a barrier of all blocks between, behind
// which x is complete. While they wait, or attend, the ring fills: the memory hardly pauses.

#include <algorithm>
#include <type_traits>

#include "msa/kernels/dependent_launch.cuh"
#include "msa/kernels/fused_step.h"
#include "msa/kernels/fused_step_attention.cuh"
#include "msa/kernels/fused_step_product.cuh"
#include "msa/kernels/fused_step_quantized.cuh"

namespace msa::kernels {
namespace {

constexpr int64_t kLeastRingBytes = 64 << 10;
constexpr int64_t kMostLayers = 512;

/// What blocks leave for each other, in the workspace.
struct StepMemory {
  uint64_t* barrier;   // zero before the first call
  std::byte* largest;  // zero before the first call
  StepParts parts;     // its counters zero before the first call
  float* x;            // [E]
  float* joint;        // [(2 G + H) D]
  float* attended;     // [H, D]
  float* gated;        // [F]
};

template <int kDim>
struct StepShared {
  RingBarriers ring;
  StepAttentionShared<kDim> attention;
  uint64_t best[kStepWarps];
  float squares[kStepWarps];
};

/// Dynamic shared memory.
struct StepLayout {
  uint32_t ring_bytes;
  uint32_t sum_bytes;
  uint32_t most_under_way;
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
template <WeightType kType, int kParts>
__device__ __forceinline__ void multiply_rows(const StepProduct& product, float eps,
                                              StepBlock& block) {
  if constexpr (kType == WeightType::kBFloat16) {
    multiply_matrix<kParts>(product, eps, block);
  } else {
    multiply_quantized<kType, kParts>(product, eps, block);
  }
}

/// The multiplying warps.
template <int kDim, WeightType kType>
__device__ __forceinline__ void compute_step(const FusedStepParams& p, const StepMemory& memory,
                                             const FusedStepLayer* layers, const int32_t* num_rows,
                                             StepAttentionShared<kDim>& shared, StepBlock& block) {
  const FusedStepShape& shape = p.shape;
  StepAttentionParams attention{};
  attention.joint = memory.joint;
  attention.cosine = p.cosine;
  attention.sine = p.sine;
  attention.position = p.position;
  attention.out = memory.attended;
  attention.num_heads = shape.num_heads;
  attention.num_kv_heads = shape.num_kv_heads;
  attention.head_dim = shape.head_dim;
  attention.scale = p.scale;
  attention.eps = p.eps;
  StepAngles<kDim> angles;
  angles.load(attention, block.lane);
  if (blockIdx.x == 0) {
    const BFloat16* row = p.embedding + *p.token * shape.embed_dim;
    for (int64_t i = threadIdx.x * kEight; i < shape.embed_dim; i += kStepThreads * kEight) {
      float numbers[kEight];
      read_eight(row + i, numbers);
      write_eight(memory.x + i, numbers);
    }
  }
  meet_step();
  block.tell_others();
  for (int l = 0; l < static_cast<int>(shape.num_layers); ++l) {
    const FusedStepLayer& layer = layers[l];
    float* kept = l == p.entry_layer ? p.entry + *p.entry_row * shape.embed_dim : nullptr;
    multiply_rows<kType, 1>({layer_matrix(shape, layer, l, kInput), memory.x, layer.input_norm,
                             memory.joint, false, kept, nullptr, nullptr},
                            p.eps, block);
    block.tell_others();
    attention.q_norm = layer.q_norm;
    attention.k_norm = layer.k_norm;
    attention.key = layer.key;
    attention.value = layer.value;
    attend<kDim>(attention, num_rows[l], angles, memory.parts, shared, block);
    block.tell_others();
    multiply_rows<kType, 1>({layer_matrix(shape, layer, l, kOutput), memory.attended, nullptr,
                             memory.x, true, nullptr, nullptr, nullptr},
                            p.eps, block);
    block.tell_others();
    multiply_rows<kType, 2>({layer_matrix(shape, layer, l, kGateUp), memory.x, layer.post_norm,
                             memory.gated, false, nullptr, nullptr, nullptr},
                            p.eps, block);
    block.tell_others();
    multiply_rows<kType, 1>({layer_matrix(shape, layer, l, kDown), memory.gated, nullptr, memory.x,
                             true, nullptr, nullptr, nullptr},
                            p.eps, block);
    block.tell_others();
  }
  multiply_rows<kType, 1>({head_matrix(p), memory.x, p.final_norm, p.logits, false, nullptr,
                           p.next_token, memory.largest},
                          p.eps, block);
}
#endif

template <int kDim, WeightType kType>
__global__ void __launch_bounds__(kStepBlockThreads, 1)
    fused_step_kernel(const __grid_constant__ FusedStepParams p,
                      const __grid_constant__ StepMemory memory, StepLayout layout) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  extern __shared__ uint4 dynamic[];  // ring, sums, [L] layers, [L] rows
  __shared__ StepShared<kDim> shared;
  auto* ring = reinterpret_cast<std::byte*>(dynamic);
  auto* sums = reinterpret_cast<float*>(ring + layout.ring_bytes);
  auto* layers = reinterpret_cast<FusedStepLayer*>(ring + layout.ring_bytes + layout.sum_bytes);
  auto* num_rows = reinterpret_cast<int32_t*>(layers + p.shape.num_layers);
  constexpr int kWords = sizeof(FusedStepLayer) / sizeof(uint64_t);
  const auto* from = reinterpret_cast<const uint64_t*>(p.layers);
  for (int i = static_cast<int>(threadIdx.x); i < p.shape.num_layers * kWords;
       i += kStepBlockThreads) {
    reinterpret_cast<uint64_t*>(layers)[i] = from[i];
  }
  for (int i = static_cast<int>(threadIdx.x); i < p.shape.num_layers; i += kStepBlockThreads) {
    num_rows[i] = p.num_rows[i];
  }
  auto* zeroed = reinterpret_cast<uint4*>(&shared.attention.heads);
  constexpr int kCount = static_cast<int>(sizeof(shared.attention.heads) / sizeof(uint4));
  for (int i = static_cast<int>(threadIdx.x); i < kCount; i += kStepBlockThreads) zeroed[i] = {};
  if (threadIdx.x == kStepThreads) shared.ring.init(kStepThreads);
  __syncthreads();
  if (threadIdx.x >= kStepThreads) {
    if (threadIdx.x == kStepThreads) {
      stream_weights(p, layers, shared.ring, ring, layout.ring_bytes, layout.most_under_way);
    }
    return;
  }
  GridBarrier barrier(memory.barrier);
  StepBlock block{static_cast<int>(threadIdx.x) / kWarpThreads,
                  static_cast<int>(threadIdx.x) % kWarpThreads,
                  shared.ring,
                  ring,
                  {layout.ring_bytes},
                  sums,
                  shared.squares,
                  shared.best,
                  barrier};
  compute_step<kDim, kType>(p, memory, layers, num_rows, shared.attention, block);
#endif
}

int64_t columns_of(const FusedStepShape& shape) {
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  return shape.num_kv_heads * ((group + kHeads - 1) / kHeads);
}

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

/// Cuts a workspace at `base` into its arrays; returns its bytes.
int64_t lay_out(const FusedStepShape& shape, std::byte* base, StepMemory& memory) {
  int64_t num_bytes = 0;
  const auto take = [&](auto*& array, int64_t count) {
    using Value = std::remove_reference_t<decltype(*array)>;
    array = reinterpret_cast<Value*>(base + num_bytes);
    num_bytes += round_up(count * static_cast<int64_t>(sizeof(Value)), 128);
  };
  const int64_t kv = shape.num_kv_heads * shape.head_dim;
  const int64_t q = shape.num_heads * shape.head_dim;
  const int64_t num_parts = columns_of(shape) * kStepSplits * kHeads;
  take(memory.barrier, 1);
  take(memory.largest, 16);
  take(memory.parts.done, columns_of(shape));
  take(memory.parts.state, num_parts);
  take(memory.parts.sum, num_parts * (shape.head_dim <= 64 ? 32 : 64));
  take(memory.x, shape.embed_dim);
  take(memory.joint, 2 * kv + q);
  take(memory.attended, q);
  take(memory.gated, shape.ffn_dim);
  return num_bytes;
}

using StepKernel = void (*)(FusedStepParams, StepMemory, StepLayout);

template <int kDim>
StepKernel kernel_of(WeightType type) {
  switch (type) {
    case WeightType::kInt8:
      return fused_step_kernel<kDim, WeightType::kInt8>;
    case WeightType::kInt4:
      return fused_step_kernel<kDim, WeightType::kInt4>;
    default:
      return fused_step_kernel<kDim, WeightType::kBFloat16>;
  }
}

StepKernel kernel_of(const FusedStepShape& shape) {
  return shape.head_dim <= 64 ? kernel_of<64>(shape.type) : kernel_of<128>(shape.type);
}

bool has_rows_for(const FusedStepShape& shape) {
  const auto fits = [&](int64_t columns) {
    return columns > 0 && columns % weight_column_step(shape.type) == 0 &&
           columns <= kLongestStepRow;
  };
  return shape.num_layers > 0 && shape.num_layers <= kMostLayers && shape.num_kv_heads > 0 &&
         shape.num_heads % shape.num_kv_heads == 0 && shape.head_dim > 0 &&
         shape.head_dim % 16 == 0 && shape.head_dim <= 128 && shape.vocab_size > 0 &&
         shape.vocab_size <= 0x7fffffff && fits(shape.embed_dim) && fits(shape.ffn_dim) &&
         fits(shape.num_heads * shape.head_dim);
}

/// Bytes that a block asks of the memory at once: what comes between a question and its answer.
/// More makes the borders of operations longer.
uint32_t most_under_way() {
  constexpr double kReadSeconds = 1.2e-6;  // of a busy memory
  const auto attribute = [](cudaDeviceAttr which) {
    return static_cast<double>(device_attribute(which));
  };
  const double bytes_a_second =
      2e3 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8;
  const double of_block = bytes_a_second / attribute(cudaDevAttrMultiProcessorCount);
  return static_cast<uint32_t>(std::clamp(of_block * kReadSeconds, 24e3, 64e3));
}

/// `static_bytes` of shared memory are taken. Ring bytes below kLeastRingBytes: it does not fit.
StepLayout layout_of(const FusedStepShape& shape, int64_t static_bytes) {
  const int64_t group = std::min<int64_t>(shape.num_heads / shape.num_kv_heads, kHeads);
  const int64_t dim = shape.head_dim <= 64 ? 64 : 128;
  const int64_t sum_bytes =
      std::max<int64_t>(kStepSumBytes, kStepWarps * group * (dim + kSumPadding) * 4);
  const int64_t layer_bytes =
      shape.num_layers * static_cast<int64_t>(sizeof(FusedStepLayer) + sizeof(int32_t));
  const int64_t ring_bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) -
                             static_bytes - sum_bytes - layer_bytes;
  const auto stage_bytes = [&](int64_t columns, int parts) {
    return weight_layout(shape.type, columns).row_bytes * parts *
           stage_rows(shape.type, static_cast<int>(columns), parts);
  };
  const int64_t largest_stage =
      std::max({stage_bytes(shape.embed_dim, 2), stage_bytes(shape.ffn_dim, 1),
                stage_bytes(shape.num_heads * shape.head_dim, 1)});
  if (ring_bytes < std::max<int64_t>(kLeastRingBytes, 2 * largest_stage)) return {};
  return {static_cast<uint32_t>(ring_bytes / 16 * 16), static_cast<uint32_t>(sum_bytes),
          most_under_way()};
}

template <int kDim>
int64_t static_bytes() {
  return sizeof(StepShared<kDim>);
}

StepLayout layout_of(const FusedStepShape& shape) {
  return layout_of(shape, shape.head_dim <= 64 ? static_bytes<64>() : static_bytes<128>());
}

}  // namespace

bool fused_step_fits(const FusedStepShape& shape) {
  if (device_attribute(cudaDevAttrComputeCapabilityMajor) != 9 ||
      device_attribute(cudaDevAttrCooperativeLaunch) == 0 || !has_rows_for(shape)) {
    return false;
  }
  cudaFuncAttributes facts{};
  expect_success(cudaFuncGetAttributes(&facts, kernel_of(shape)), "fused_step");
  return facts.sharedSizeBytes > 0 &&  // else it was compiled for older GPUs, and does nothing
         layout_of(shape).ring_bytes > 0;
}

int64_t fused_step_workspace_bytes(const FusedStepShape& shape) {
  StepMemory memory{};
  return lay_out(shape, nullptr, memory);
}

void fused_step_cuda(const FusedStepParams& params, CudaStream stream) {
  MSA_CHECK(fused_step_fits(params.shape), "fused_step: the shape does not fit this GPU");
  StepMemory memory{};
  lay_out(params.shape, params.workspace, memory);
  const StepLayout layout = layout_of(params.shape);
  const StepKernel kernel = kernel_of(params.shape);
  const int64_t layer_bytes =
      params.shape.num_layers * static_cast<int64_t>(sizeof(FusedStepLayer) + sizeof(int32_t));
  const int64_t dynamic_bytes = layout.ring_bytes + layout.sum_bytes + layer_bytes;
  cudaFuncAttributes facts{};
  expect_success(cudaFuncGetAttributes(&facts, kernel), "fused_step");
  // The same at every call: it belongs to the kernel, whoever else launches it now.
  expect_success(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) -
                                          static_cast<int>(facts.sharedSizeBytes)),
                 "fused_step");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(device_attribute(cudaDevAttrMultiProcessorCount));
  config.blockDim = kStepBlockThreads;
  config.dynamicSmemBytes = static_cast<size_t>(dynamic_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = 1;
  expect_success(cudaLaunchKernelEx(&config, kernel, params, memory, layout), "fused_step");
}

}  // namespace msa::kernels
