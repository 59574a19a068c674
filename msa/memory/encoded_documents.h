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

}  // namespace msa::memory
