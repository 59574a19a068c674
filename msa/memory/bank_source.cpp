#include "msa/memory/bank_source.h"

#include <utility>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/content_rows.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

BankSource::BankSource(std::unique_ptr<const BankSegments> segments)
    : segments_(std::move(segments)),
      index_(segments_->facts().shape, segments_->facts().key_type) {
  const BankFacts& facts = segments_->facts();
  std::vector<int64_t> num_chunks(segments_->num_documents());
  for (size_t n = 0; n < num_chunks.size(); ++n) {
    num_chunks[n] = segments_->num_chunks(static_cast<int64_t>(n));
  }
  index_.reserve(num_chunks);
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t row_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  parallel_for(static_cast<int64_t>(segments_->segments().size()) * num_layers, [&](int64_t i) {
    const BankSegments::Segment& segment = segments_->segments()[i / num_layers];
    const int64_t layer = i % num_layers;
    for (const ChunkRun& run : segment.runs) {
      const int64_t stored = layer * segment.num_stored_chunks + run.first_stored;
      segment.file->read(kRoutingKeyTensor, static_cast<uint64_t>(stored * row_bytes),
                         index_.rows(layer, run.first, run.count));
      if (facts.key_type == kernels::NumberType::kInt8) {
        segment.file->read(kRoutingScaleTensor, static_cast<uint64_t>(stored * 4),
                           std::as_writable_bytes(index_.scales(layer, run.first, run.count)));
      }
    }
  });
}

void BankSource::fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                       float* value) const {
  const BankFacts& facts = segments_->facts();
  const int64_t chunk_bytes = content_chunk_bytes(facts);
  MSA_CHECK(layer >= 0 && layer < facts.shape.num_layers, "fetch: there is no router layer ",
            layer);
  std::vector<std::byte> record;
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
    const int64_t count = num_chunks(document);
    record.resize(count * chunk_bytes);
    segments_->read_record(document, layer, record);
    const std::byte* from = record.data();
    for (int64_t c = 0; c < count; ++c) {
      for (float** to : {&key, &value}) {
        kernels::dequantize_content({.row = from,
                                     .num_rows = 1,
                                     .num_kv_heads = facts.shape.num_kv_heads,
                                     .head_dim = facts.shape.head_dim,
                                     .type = facts.content_type,
                                     .out = *to});
        *to += facts.shape.key_dim();
        from += chunk_bytes / 2;
      }
    }
  }
}

}  // namespace msa::memory
