#pragma once
// Names, types and order of what a segment file of a bank holds.

#include <cstdint>
#include <span>

#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/storage/safetensors.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {

inline constexpr const char* kRoutingKeyTensor = "routing_key";  // [L, C, F] of the bank's key type
inline constexpr const char* kRoutingScaleTensor = "routing_scale";  // [L, C] F32, int8 keys only
inline constexpr const char* kContentTensor =
    "content";  // passage by passage [L, chunks, 2 (K, V), G, D]; flat
inline constexpr const char* kFirstChunkTensor = "first_chunk";  // [passages + 1] I64
inline constexpr const char* kPassageIdTensor = "passage_id";    // [passages] I64

/// Bytes of one chunk's K and V in one layer.
inline int64_t content_chunk_bytes(const BankFacts& facts) {
  return 2 * facts.shape.key_dim() * kernels::bytes_of(facts.content_type);
}

storage::DataType data_type(kernels::NumberType type);

/// The passages of one segment, of all passages of a bank by rising id. Ids rise from segment to
/// segment.
std::span<const Passage> passages_in(std::span<const Passage> all, int64_t segment);

/// Throws Error(kCorruption) unless the file is what the catalog says of it: every tensor of the
/// type and shape that the facts ask for, made by the same model, and `passages` in their order.
void expect_segment(const storage::SegmentFile& segment, const BankFacts& facts,
                    const SegmentRow& row, std::span<const Passage> passages);

}  // namespace msa::memory
