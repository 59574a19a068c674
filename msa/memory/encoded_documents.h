#pragma once
// Documents after encoding and pooling, on their way from the model into a memory.

#include <cstdint>
#include <vector>

namespace msa::memory {

/// The pooled chunks of some documents, one after the other, in every router layer.
/// Letters: L router layers, C chunks of all documents together, G kv heads, D head size.
struct EncodedDocuments {
  std::vector<int64_t> num_chunks;        // [documents]; sums to C
  std::vector<std::vector<float>> key;    // [L][C, G, D]
  std::vector<std::vector<float>> value;  // [L][C, G, D]
  std::vector<std::vector<float>>
      routing_key;  // [L][C, G, D]; unit vectors per kv head where normalised
};

/// [documents] Whether all numbers of a document are finite. The lists must be of the right
/// lengths.
std::vector<bool> are_finite(const EncodedDocuments& encoded);

/// Drops the documents that are not kept.
void keep(const std::vector<bool>& is_kept, EncodedDocuments& encoded);

}  // namespace msa::memory
