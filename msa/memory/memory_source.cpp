#include "msa/memory/memory_source.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"

namespace msa::memory {

MemorySource::MemorySource(const MemoryShape& shape, EncodedDocuments documents,
                           kernels::NumberType key_type)
    : documents_(std::move(documents)), index_(shape, key_type) {
  index_.reserve(documents_.num_chunks);
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    index_.set_rows(layer, 0, documents_.routing_key[layer]);
  }
}

void MemorySource::fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                         float* value) const {
  MSA_CHECK(layer >= 0 && layer < shape().num_layers, "fetch: there is no router layer ", layer);
  const int64_t width = shape().key_dim();
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
    const int64_t first = index_.first_chunk(document) * width;
    const int64_t count = num_chunks(document) * width;
    key = std::copy_n(documents_.key[layer].data() + first, count, key);
    value = std::copy_n(documents_.value[layer].data() + first, count, value);
  }
}

}  // namespace msa::memory
