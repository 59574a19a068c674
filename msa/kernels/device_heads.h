#pragma once
// Heads on a GPU: from the rows of one joint product to caches, attention and routing. Every
// pointer is to device memory, 16-byte aligned. Each call queues its work and returns; it throws
// Error(kInvalidArgument) for shapes outside the ranges given, Error(kDevice) if the work cannot be
// launched. Of no tokens nothing is launched.

#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/number_type.h"

namespace msa::kernels {

constexpr int64_t kLargestHead = 256;

/// RMS norm and rotation (NormRopeParams) of every key and query head of a token; values are
/// copied. A joint row holds, from first_column on, G key heads, G value heads and H query heads.
struct SpreadHeadsParams {
  const void* joint = nullptr;                    // [T, row_stride] of joint_type
  NumberType joint_type = NumberType::kBFloat16;  // or kFloat32
  int64_t row_stride = 0;                         // numbers, a multiple of 8
  int64_t first_column = 0;                       // a multiple of 8
  const float* q_norm = nullptr;                  // [D]
  const float* k_norm = nullptr;                  // [D]
  const float* cosine = nullptr;                  // [positions, D / 2]
  const float* sine = nullptr;                    // [positions, D / 2]
  const int32_t* position = nullptr;              // [T], a row of the tables
  BFloat16* query = nullptr;           // [T, H, D], written; null: the rows hold no queries
  BFloat16* key = nullptr;             // [rows, G, D], T rows written
  BFloat16* value = nullptr;           // [rows, G, D], T rows written
  const int32_t* first_row = nullptr;  // one number: the row of token 0 in key and value; null: 0
  int64_t num_tokens = 0;              // T
  int64_t num_heads = 0;               // H
  int64_t num_kv_heads = 0;            // G
  int64_t head_dim = 0;                // D, a multiple of 8 up to kLargestHead
  float eps = 0;
};
void spread_heads_cuda(const SpreadHeadsParams& params, CudaStream stream);

/// out[r][g] = factor * sum of the H / G routing-query heads of kv head g in row row[r]; each is
/// divided by max(its length, 1e-12) first if `normalizes`. With `is_mean` there is one output row:
/// the mean of those of all R rows. Sums are float32 in a fixed order.
struct FoldQueriesParams {
  const BFloat16* joint = nullptr;  // [T, row_stride]
  int64_t row_stride = 0;
  int64_t first_column = 0;      // of the H heads
  const int32_t* row = nullptr;  // [R], in [0, T)
  float* out = nullptr;          // [R, G, D], or [1, G, D] with is_mean; written
  int64_t num_rows = 0;          // R
  int64_t num_heads = 0;         // H, a multiple of G
  int64_t num_kv_heads = 0;      // G
  int64_t head_dim = 0;          // D in [1, kLargestHead]
  float factor = 1;              // scale / H
  bool normalizes = false;
  bool is_mean = false;
};
void fold_queries_cuda(const FoldQueriesParams& params, CudaStream stream);

}  // namespace msa::kernels
