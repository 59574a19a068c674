#pragma once
// How the copy engine finds the tiles of rows in memory.

#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include "msa/base/error.h"
#include "msa/kernels/warpgroup_code.cuh"

namespace msa::kernels {

/// The driver's function. Found at run time, so that nothing links to the driver's library.
inline PFN_cuTensorMapEncodeTiled_v12000 encode_tiled() {
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
  return encode;
}

/// Boxes of bytes of `memory`, innermost axis first: kTileRowBytes long, permuted as a tile is.
/// `stride[i]` lies between neighbours on axis i + 1. `fetched` is what the L2 cache reads
/// together.
template <size_t kAxes>
CUtensorMap box_map(const void* memory, const cuuint64_t (&size)[kAxes],
                    const cuuint64_t (&stride)[kAxes - 1], const cuuint32_t (&box)[kAxes],
                    CUtensorMapL2promotion fetched = CU_TENSOR_MAP_L2_PROMOTION_L2_256B) {
  cuuint32_t step[kAxes];
  for (cuuint32_t& one : step) one = 1;
  CUtensorMap map;
  const CUresult result =
      encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, kAxes, const_cast<void*>(memory), size,
                     stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     fetched, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw Error(ErrorCode::kDevice, size[kAxes - 1], " rows of ", size[0],
                " bytes cannot be copied in tiles: error ", static_cast<int>(result));
  }
  return map;
}

/// Tiles of `tile_rows` (up to 256) rows and kTileRowBytes of `num_rows` rows of `row_bytes`, which
/// are whole 16 bytes, as `memory` is aligned. Throws Error(kDevice) where the driver refuses.
inline CUtensorMap tile_map(const void* memory, int64_t num_rows, int64_t row_bytes, int tile_rows,
                            CUtensorMapL2promotion fetched = CU_TENSOR_MAP_L2_PROMOTION_L2_256B) {
  return box_map<2>(memory, {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(num_rows)},
                    {static_cast<cuuint64_t>(row_bytes)},
                    {kTileRowBytes, static_cast<cuuint32_t>(tile_rows)}, fetched);
}

/// The same where a row has heads of `head_bytes` side by side, and a tile `tile_heads` of each of
/// `tile_rows` rows: head after head, row after row.
inline CUtensorMap heads_map(const void* memory, int64_t num_rows, int64_t num_heads,
                             int64_t head_bytes, int tile_heads, int tile_rows) {
  return box_map<3>(
      memory,
      {static_cast<cuuint64_t>(head_bytes), static_cast<cuuint64_t>(num_heads),
       static_cast<cuuint64_t>(num_rows)},
      {static_cast<cuuint64_t>(head_bytes), static_cast<cuuint64_t>(num_heads * head_bytes)},
      {kTileRowBytes, static_cast<cuuint32_t>(tile_heads), static_cast<cuuint32_t>(tile_rows)});
}

}  // namespace msa::kernels
