#pragma once
// The routing keys of a bank in GPU memory, and the tables that routing and gathering read.

#include <cstdint>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/memory/bank_segments.h"

namespace msa::memory {

/// Immutable; all calls may run at once.
class GpuKeys {
 public:
  /// Throws Error(kDevice) if there is no room, Error(kInvalidArgument) for keys that the GPU does
  /// not route over, Error(kCorruption) with file and offset if they are damaged. Both must outlive
  /// it.
  GpuKeys(const kernels::Gpu& gpu, const BankSegments& segments);

  /// GPU memory that the keys and tables of a bank take.
  static int64_t num_bytes(const BankSegments& segments);

  /// Fills in what of `params` is the memory's: all but questions and results.
  void set_routing(int64_t layer, kernels::RouteBatchParams& params) const;

  /// [N + 1], on the GPU.
  const int64_t* first_chunk() const { return first_chunk_.data(); }

 private:
  void load_tables(const kernels::Gpu& gpu);
  std::vector<float> load_scales(const kernels::Gpu& gpu);
  void load_keys(const kernels::Gpu& gpu);

  const BankSegments& segments_;
  float longest_ = 0;                             // at least the length of every key
  kernels::GpuBuffer keys_;                       // [L, C, F] of the key type
  kernels::GpuArray<float> scales_;               // [L, C filled up to 16 bytes], int8 keys only
  kernels::GpuArray<int32_t> document_of_chunk_;  // [C]
  kernels::GpuArray<int64_t> first_chunk_;        // [N + 1]
};

}  // namespace msa::memory
