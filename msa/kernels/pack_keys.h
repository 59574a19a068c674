#pragma once
// Routing keys in four bits a value, for a scan that reads a quarter of bfloat16. They are rotated
// first: what rounding takes from a rotated key points anywhere, so that it moves a score by about
// a tenth of what scores of unrelated keys vary by, also where keys have few large values.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/number_type.h"

namespace msa::kernels {

/// Chunks are packed kBandChunks at a time, values kSegmentValues at a time; the last of both are
/// filled up. The bands stand one after the other, each [segments][kBandChunks][kSegmentBytes].
/// Value 32 i + 16 h + 4 t + j of a segment is in byte 16 t + 4 i + j, in the lower nibble where h
/// is 0, as a signed number in [-8, 7]: a lane that reads 16 bytes has its part of a row of four
/// products on tensor cores.
constexpr int64_t kBandChunks = 128;
constexpr int64_t kSegmentValues = 128;
constexpr int64_t kSegmentBytes = kSegmentValues / 2;
constexpr int64_t kMostPackedDim = 4096;

/// Values of a key, filled up with zeros before it is rotated.
constexpr int64_t packed_dim(int64_t key_dim) {
  return (key_dim + kSegmentValues - 1) / kSegmentValues * kSegmentValues;
}
constexpr int64_t packed_key_bytes(int64_t num_chunks, int64_t key_dim) {
  return (num_chunks + kBandChunks - 1) / kBandChunks * kBandChunks * packed_dim(key_dim) / 2;
}

/// The lowest bits of a key's scale, by which it hardly changes, say how long the key's rounding
/// error is: at most so many times this share of the scale times the root of packed_dim(F).
constexpr uint32_t kErrorBits = 0xff;
constexpr float kErrorShare = 0.002F;

/// What is scanned in place of keys. Made by pack_keys_cuda; all pointers are device memory.
struct PackedKeys {
  const std::byte* value = nullptr;  // [packed_key_bytes(C, F)], 16-byte aligned; null: none
  const float* scale = nullptr;      // [C]
  float longest = 0;                 // at least every key's length over its scale
};

/// value[c] = signed nibbles times scale[c] approximate the rotated key c. The step between nibbles
/// is that of a few which keeps most of the key's direction; the scale makes the error
/// perpendicular to the key, so that it does not shrink scores.
struct PackKeysParams {
  NumberType key_type = NumberType::kBFloat16;  // kBFloat16 or kInt8
  const void* key = nullptr;                    // [C, F] of key_type, in GPU memory or pinned host
                                                // memory; 16-byte aligned
  const float* key_scale = nullptr;             // [C], kInt8 only
  int64_t num_chunks = 0;                       // C, may be 0
  int64_t key_dim = 0;                          // F in [1, kMostPackedDim]
  std::byte* value = nullptr;                   // [packed_key_bytes(C, F)] written, 16-byte aligned
  float* scale = nullptr;                       // [C], written
  float* longest = nullptr;  // [1] in GPU memory, raised to PackedKeys::longest of these
};

/// Queues the work on `stream` and returns. Throws Error(kInvalidArgument) for shapes outside the
/// ranges above, Error(kDevice) if the GPU cannot be given the work.
void pack_keys_cuda(const PackKeysParams& params, CudaStream stream);

}  // namespace msa::kernels
