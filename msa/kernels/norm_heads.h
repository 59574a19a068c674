#pragma once
// RMS norm and rotation of heads for training on a GPU: heads leave a joint row for attention, and
// their gradients come back into one. Values are bfloat16, weights, tables and sums float32. Every
// pointer is to device memory, 16-byte aligned; strides and first columns are multiples of 8, D is
// a multiple of 16 up to kLargestLearnedHead. Each call queues its work and returns; it throws
// Error(kInvalidArgument) for other shapes, Error(kDevice) if the work cannot be launched. Results
// repeat bit for bit on every GPU.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

constexpr int64_t kLargestLearnedHead = 256;
constexpr int kMostHeadGroups = 4;

/// Neighbouring heads of a joint row that share a weight.
struct HeadGroup {
  int64_t first_column = 0;
  int64_t num_heads = 0;
  const float* weight = nullptr;  // [D]; null: heads are copied as they are
  BFloat16* out = nullptr;        // [T, num_heads, D], written
};

/// Of every head RMS norm, then rotation of its two halves (a, b) by the token's angles:
/// (a cos - b sin, b cos + a sin).
struct NormHeadsParams {
  const BFloat16* joint = nullptr;  // [T, row_stride]
  int64_t row_stride = 0;           // numbers
  HeadGroup group[kMostHeadGroups] = {};
  int num_groups = 0;
  const float* cosine = nullptr;  // [T, D / 2]
  const float* sine = nullptr;    // [T, D / 2]
  int64_t num_tokens = 0;         // T
  int64_t head_dim = 0;           // D
  float eps = 0;
};
/// Of no tokens nothing is launched.
void norm_heads_cuda(const NormHeadsParams& params, CudaStream stream);

struct HeadGroupGradient {
  int64_t first_column = 0;
  int64_t num_heads = 0;
  const float* weight = nullptr;           // [D]; null: heads were copied
  const BFloat16* out_gradient = nullptr;  // [T, num_heads, D]
  float* weight_gradient = nullptr;        // [D], written; null without weight
};

/// Roots are found again from the joint rows.
struct NormHeadsGradientParams {
  const BFloat16* joint = nullptr;     // [T, row_stride]
  BFloat16* joint_gradient = nullptr;  // [T, gradient_stride], the groups' columns are written;
                                       // may be joint if the strides are equal
  int64_t row_stride = 0;              // numbers
  int64_t gradient_stride = 0;         // numbers
  HeadGroupGradient group[kMostHeadGroups] = {};
  int num_groups = 0;
  const float* cosine = nullptr;  // [T, D / 2]
  const float* sine = nullptr;    // [T, D / 2]
  void* workspace = nullptr;      // norm_heads_gradient_workspace_bytes(D)
  int64_t num_tokens = 0;         // T
  int64_t head_dim = 0;           // D
  float eps = 0;
};
/// Of no tokens the weights' gradients are zeros.
void norm_heads_gradient_cuda(const NormHeadsGradientParams& params, CudaStream stream);
int64_t norm_heads_gradient_workspace_bytes(int64_t head_dim);

}  // namespace msa::kernels
