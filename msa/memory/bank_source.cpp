#include "msa/memory/bank_source.h"

#include <algorithm>
#include <cstring>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

BankSource::BankSource(FileSystem& files, const std::filesystem::path& folder,
                       const BankFacts& facts, const std::vector<SegmentRow>& segments,
                       const std::vector<Passage>& passages)
    : facts_(facts), index_(facts.shape, facts.key_type), pool_(files, share_of_descriptors()) {
  std::vector<int64_t> num_chunks;
  std::vector<int64_t> first_row;  // of each segment's chunks in the index
  int64_t row = 0;
  for (const SegmentRow& segment : segments) {
    segments_.push_back(storage::SegmentFile::open(pool_, folder / "segments" / segment.file,
                                                   static_cast<uint64_t>(segment.bytes),
                                                   segment.digest));
    const std::span<const Passage> own = passages_in(passages, segment.id);
    expect_segment(*segments_.back(), facts, segment, own);
    first_row.push_back(row);
    int64_t chunk = 0;
    for (const Passage& passage : own) {
      num_chunks.push_back(passage.chunks);
      places_.push_back(
          {.segment = segments_.size() - 1, .first_chunk = chunk, .passage_id = passage.id});
      chunk += passage.chunks;
    }
    row += segment.chunks;
  }
  if (places_.size() != passages.size()) {
    throw Error(ErrorCode::kCorruption, folder.string(), ": ", passages.size() - places_.size(),
                " passages of the catalog are in no segment");
  }
  index_.reserve(num_chunks);
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t row_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  parallel_for(static_cast<int64_t>(segments.size()) * num_layers, [&](int64_t i) {
    const auto n = static_cast<size_t>(i / num_layers);
    const int64_t layer = i % num_layers;
    const int64_t count = segments[n].chunks;
    segments_[n]->read(kRoutingKeyTensor, static_cast<uint64_t>(layer * count * row_bytes),
                       index_.rows(layer, first_row[n], count));
    if (facts.key_type == kernels::NumberType::kInt8) {
      segments_[n]->read(kRoutingScaleTensor, static_cast<uint64_t>(layer * count * 4),
                         std::as_writable_bytes(index_.scales(layer, first_row[n], count)));
    }
  });
}

void BankSource::fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                       float* value) const {
  const int64_t dim = facts_.shape.key_dim();
  const int64_t chunk_bytes = content_chunk_bytes(facts_);
  MSA_CHECK(layer >= 0 && layer < facts_.shape.num_layers, "fetch: there is no router layer ",
            layer);
  std::vector<std::byte> record;
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
    const Place& place = places_[document];
    const int64_t count = num_chunks(document);
    // A passage's record holds all layers; this is one of them.
    const int64_t first = place.first_chunk * facts_.shape.num_layers + layer * count;
    record.resize(count * chunk_bytes);
    try {
      segments_[place.segment]->read(kContentTensor, static_cast<uint64_t>(first * chunk_bytes),
                                     record);
    } catch (const Error& error) {
      throw Error(error.code(), error.what(), ", wanted for passage ", place.passage_id);
    }
    const std::byte* from = record.data();
    for (int64_t c = 0; c < count; ++c) {
      for (float** to : {&key, &value}) {
        if (facts_.content_type == kernels::NumberType::kFloat32) {
          std::memcpy(*to, from, static_cast<size_t>(dim) * sizeof(float));
        } else {
          const auto* numbers = reinterpret_cast<const BFloat16*>(from);
          std::transform(numbers, numbers + dim, *to, to_float);
        }
        *to += dim;
        from += chunk_bytes / 2;
      }
    }
  }
}

}  // namespace msa::memory
