#pragma once
// Names and order of what a segment file of a bank holds.

#include <cstdint>

#include "msa/memory/bank_facts.h"
#include "msa/storage/safetensors.h"

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

inline storage::DataType data_type(kernels::NumberType type) {
  return type == kernels::NumberType::kFloat32    ? storage::DataType::kF32
         : type == kernels::NumberType::kBFloat16 ? storage::DataType::kBF16
                                                  : storage::DataType::kI8;
}

}  // namespace msa::memory
