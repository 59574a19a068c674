#pragma once
// The routing keys of a bank in GPU memory, and the tables that routing and gathering read.

#include <cstdint>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/memory/bank_segments.h"

namespace msa::memory {

/// What routing reads of every key: the bank's rows, or rows packed from them into four bits a
/// value, with the bank's rows of the few that may be chosen.
enum class ScanKeys { kStored, kInt4 };

struct GpuKeysOptions {
  ScanKeys scan = ScanKeys::kStored;
  bool are_stored_on_host = false;  // the bank's rows, in pinned memory; kInt4 only
};

/// Immutable; all calls may run at once.
class GpuKeys {
 public:
  /// Throws Error(kLimit) if there is no room, Error(kDevice) for keys that the GPU does not route
  /// over or cannot scan so, Error(kCorruption) with file and offset if they are damaged. Both must
  /// outlive it.
  GpuKeys(const kernels::Gpu& gpu, const BankSegments& segments, const GpuKeysOptions& options);

  /// Bytes of the bank's rows.
  static int64_t stored_bytes(const BankSegments& segments);

  /// Bytes of all else: tables, scales and packed rows.
  static int64_t other_bytes(const BankSegments& segments, ScanKeys scan);

  /// What routing reads of all keys in one round.
  int64_t scanned_bytes() const;

  /// Fills in what of `params` is the memory's: all but questions and results.
  void set_routing(int64_t layer, kernels::RouteBatchParams& params) const;

  /// [N + 1], on the GPU.
  const int64_t* first_chunk() const { return first_chunk_.data(); }

 private:
  void load_tables(const kernels::Gpu& gpu);
  std::vector<float> load_scales(const kernels::Gpu& gpu);
  void load_keys(const kernels::Gpu& gpu);
  void pack_keys(const kernels::Gpu& gpu);
  const std::byte* layer_keys(int64_t layer) const;
  const float* layer_scales(int64_t layer) const;

  const BankSegments& segments_;
  GpuKeysOptions options_;
  float longest_ = 0;                             // at least the length of every key
  kernels::GpuBuffer gpu_keys_;                   // [L, C, F] of the key type, or
  kernels::PinnedBuffer host_keys_;               // the same
  kernels::GpuBuffer packed_;                     // [L, packed_key_bytes], kInt4 only
  kernels::GpuArray<float> packed_scales_;        // as scales_
  float longest_packed_ = 0;                      // at least their lengths over their scales
  kernels::GpuArray<float> scales_;               // [L, C filled up to 16 bytes], int8 keys only
  kernels::GpuArray<int32_t> document_of_chunk_;  // [C]
  kernels::GpuArray<int64_t> first_chunk_;        // [N + 1]
};

}  // namespace msa::memory
