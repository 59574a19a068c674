#pragma once
// The chosen documents' K and V of one layer, from wherever and however a memory keeps them to
// where attention reads them.

#include <cstddef>
#include <cstdint>

#include "msa/base/bfloat16.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/route_scores.h"

namespace msa::kernels {

/// Letters: L layers of a memory, N documents, C chunks, F = G * D values of a key.
/// A document's record is [L, chunks, 2 (K, V), row], rows as content_layout says; records stand
/// one after the other in order of documents: that of document n begins with row
/// first_chunk[n] * L * 2. All pointers can be used by the GPU and are 16-byte aligned.
struct GatherRecordsParams {
  const ScoredDocument* selected = nullptr;   // [top_k]; document -1: none
  int64_t top_k = 0;                          // in [0, kMostRouted]
  const int64_t* first_chunk = nullptr;       // [N + 1]
  ContentType type = ContentType::kBFloat16;  // kBFloat16, kInt8 or kInt4
  const std::byte* content = nullptr;  // [C * L * 2 rows] in GPU memory or pinned host memory;
                                       // null if every chosen document has a slot
  const int32_t* slot = nullptr;       // [N], place of a document's record in `cached`, -1 for
                                       // none; null: none has one. May change meanwhile by
                                       // set_slots_cuda
  const std::byte* cached = nullptr;   // [slots, slot_bytes]
  int64_t slot_bytes = 0;              // at least those of any record, a multiple of 16
  int64_t layer = 0;                   // in [0, L)
  int64_t num_layers = 0;              // L
  int64_t num_kv_heads = 0;            // G
  int64_t head_dim = 0;                // D; F is a multiple of 8, for kInt8 D is. Quantised K and V
                                       // of a chunk take at most 48 KiB
  BFloat16* key = nullptr;             // [capacity, F], rows from first_row on are written,
  BFloat16* value = nullptr;           // document after document in the order of `selected`
  int64_t first_row = 0;               // in [0, capacity]
  int64_t capacity = 0;                // rows
  int32_t* num_rows = nullptr;         // [1], written: first_row + rows written
  int32_t* overflow = nullptr;         // [1], 1 is written if rows had to be left out
};

/// Queues the copy on `stream` and returns: the GPU itself looks up who was chosen. Integers times
/// their scale are rounded to bfloat16, to nearest, ties to even. Throws
/// Error(kInvalidArgument) for numbers outside the ranges above, Error(kDevice) if the GPU cannot
/// be given the work.
void gather_records_cuda(const GatherRecordsParams& params, CudaStream stream);

struct SlotChange {
  int32_t document = 0;
  int32_t slot = 0;  // -1: none
};

/// slot[document] = the change's slot for each of `count` changes, which the GPU reads when it gets
/// to them. What was written to a slot before on `stream` is seen by every gather that sees the
/// change. Otherwise as gather_records_cuda.
void set_slots_cuda(const SlotChange* changes, int64_t count, int32_t* slot, CudaStream stream);

}  // namespace msa::kernels
