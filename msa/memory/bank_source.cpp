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
    : facts_(facts), index_(facts.shape, facts.key_type) {
  std::vector<int64_t> num_chunks;
  std::vector<int64_t> first_row;  // of each segment's chunks in the index
  size_t place = 0;
  int64_t row = 0;
  for (const SegmentRow& segment : segments) {
    segments_.push_back(storage::SegmentFile::open(files, folder / "segments" / segment.file,
                                                   static_cast<uint64_t>(segment.bytes),
                                                   segment.digest));
    first_row.push_back(row);
    int64_t chunk = 0;
    for (; place < passages.size() && passages[place].segment == segment.id; ++place) {
      num_chunks.push_back(passages[place].chunks);
      places_.push_back({segments_.size() - 1, chunk});
      chunk += passages[place].chunks;
    }
    if (chunk != segment.chunks) {
      throw Error(ErrorCode::kCorruption, segments_.back()->path().string(), ": holds ",
                  segment.chunks, " chunks, the catalog's passages have ", chunk);
    }
    row += chunk;
  }
  if (place != passages.size()) {
    throw Error(ErrorCode::kCorruption, folder.string(), ": passage ", passages[place].id,
                " is in no segment, or ids do not rise from segment to segment");
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
  std::vector<std::byte> record;
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
    const Place& place = places_[document];
    const int64_t count = num_chunks(document);
    // A passage's record holds all layers; this is one of them.
    const int64_t first = place.first_chunk * facts_.shape.num_layers + layer * count;
    record.resize(count * chunk_bytes);
    segments_[place.segment]->read(kContentTensor, static_cast<uint64_t>(first * chunk_bytes),
                                   record);
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

std::vector<int64_t> passages_in_block(const storage::SegmentFile& segment, const BankFacts& facts,
                                       const std::vector<Passage>& passages, int64_t segment_id,
                                       uint64_t offset) {
  const auto block_first = static_cast<int64_t>(offset);
  const int64_t block_end = block_first + static_cast<int64_t>(storage::kDigestBlockBytes);
  const auto keys = static_cast<int64_t>(segment.tensor(kRoutingKeyTensor).offset);
  const auto content = static_cast<int64_t>(segment.tensor(kContentTensor).offset);
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t key_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  const int64_t record_bytes = num_layers * content_chunk_bytes(facts);
  int64_t num_chunks = 0;
  for (const Passage& p : passages) num_chunks += p.segment == segment_id ? p.chunks : 0;
  const auto touches = [&](int64_t first, int64_t end) {
    return first < block_end && end > block_first;
  };
  std::vector<int64_t> ids;
  int64_t chunk = 0;
  for (const Passage& p : passages) {
    if (p.segment != segment_id) continue;
    bool is_hit =
        touches(content + chunk * record_bytes, content + (chunk + p.chunks) * record_bytes);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      const int64_t first = keys + (layer * num_chunks + chunk) * key_bytes;
      is_hit |= touches(first, first + p.chunks * key_bytes);
    }
    if (is_hit) ids.push_back(p.id);
    chunk += p.chunks;
  }
  return ids;
}

}  // namespace msa::memory
