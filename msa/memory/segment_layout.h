#pragma once
// Names, types and order of what a segment file of a bank holds.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/storage/safetensors.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {

inline constexpr const char* kRoutingKeyTensor = "routing_key";  // [L, C, F] of the bank's key type
inline constexpr const char* kRoutingScaleTensor = "routing_scale";  // [L, C] F32, int8 keys only
inline constexpr const char* kContentTensor =
    "content";  // passage by passage [L, chunks, 2 (K, V), one stored row]; flat
inline constexpr const char* kFirstChunkTensor = "first_chunk";  // [passages + 1] I64
inline constexpr const char* kPassageIdTensor = "passage_id";    // [passages] I64

/// How a row of K or V is stored.
inline kernels::ContentLayout content_layout(const BankFacts& facts) {
  return kernels::content_layout(facts.content_type, facts.shape.num_kv_heads,
                                 facts.shape.head_dim);
}

/// Bytes of one chunk's K and V in one layer.
inline int64_t content_chunk_bytes(const BankFacts& facts) {
  return 2 * content_layout(facts).row_bytes;
}

/// Bytes of one chunk in a segment, in all layers: routing key, its scale, K and V.
inline int64_t stored_chunk_bytes(const BankFacts& facts) {
  const bool is_scaled = facts.key_type == kernels::NumberType::kInt8;
  const int64_t key_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  return facts.shape.num_layers * (key_bytes + (is_scaled ? 4 : 0) + content_chunk_bytes(facts));
}

/// What every segment of a bank says of itself.
std::map<std::string, std::string> segment_metadata(const BankFacts& facts);

storage::DataType data_type(kernels::NumberType type);

/// Type and shape of the tensor of content: F32 or BF16 [2 L C, G, D]; where rows are quantised
/// their bytes [2 L C, row_bytes], as I8 for int8 and U8 for int4.
struct ContentTensor {
  storage::DataType type = storage::DataType::kF32;
  std::vector<int64_t> shape;
};
ContentTensor content_tensor(const BankFacts& facts, int64_t num_chunks);

/// The passages of one segment, of those of a bank by rising segment.
std::span<const Passage> passages_in(std::span<const Passage> by_segment, int64_t segment);

/// What the file itself says of its passages: those of deleted documents too.
struct SegmentTables {
  std::vector<int64_t> passage_id;   // [N], rising
  std::vector<int64_t> first_chunk;  // [N + 1], from 0 to the segment's chunks
};

/// Throws Error(kCorruption) unless the file is what the catalog says of it: every tensor of the
/// type and shape that the facts ask for, its metadata the bank's own, and its tables in order.
SegmentTables read_tables(const storage::SegmentFile& segment, const BankFacts& facts,
                          const SegmentRow& row);

/// [live] the first stored chunk of each of these passages, by rising id. Throws Error(kCorruption)
/// naming the file if it does not hold one of them, or with other chunks.
std::vector<int64_t> stored_chunks_of(const storage::SegmentFile& segment,
                                      const SegmentTables& tables,
                                      std::span<const Passage> passages);

}  // namespace msa::memory
