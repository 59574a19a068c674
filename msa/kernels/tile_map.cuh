#pragma once
// How the copy engine finds the tiles of rows in memory.

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "msa/base/error.h"
#include "msa/kernels/warpgroup_code.cuh"

namespace msa::kernels {

/// Tiles of `tile_rows` (up to 256) rows and kTileRowBytes of `num_rows` rows of `row_bytes`, which
/// are whole 16 bytes, as `memory` is aligned. Throws Error(kDevice) where the driver refuses.
inline CUtensorMap tile_map(const void* memory, int64_t num_rows, int64_t row_bytes,
                            int tile_rows) {
  // Found at run time, so that nothing links to the driver's library.
  static const auto encode = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    constexpr unsigned kVersion = 12000;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, kVersion,
                                         cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess) {
      throw Error(ErrorCode::kDevice, "the GPU's driver has no cuTensorMapEncodeTiled");
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(entry);
  }();
  const cuuint64_t size[] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(num_rows)};
  const cuuint64_t stride[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {kTileRowBytes, static_cast<cuuint32_t>(tile_rows)};
  const cuuint32_t step[] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(memory), size, stride, box,
             step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(ErrorCode::kDevice, num_rows, " rows of ", row_bytes,
                " bytes cannot be copied in tiles: error ", static_cast<int>(result));
  }
  return map;
}

}  // namespace msa::kernels
