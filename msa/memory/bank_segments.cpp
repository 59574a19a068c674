#include "msa/memory/bank_segments.h"

#include "msa/base/error.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

BankSegments::BankSegments(FileSystem& files, const std::filesystem::path& folder,
                           const BankFacts& facts, const std::vector<SegmentRow>& segments,
                           const std::vector<Passage>& passages)
    : facts_(facts), pool_(files, share_of_descriptors()) {
  for (const SegmentRow& segment : segments) {
    auto file = storage::SegmentFile::open(pool_, folder / "segments" / segment.file,
                                           static_cast<uint64_t>(segment.bytes), segment.digest);
    const std::span<const Passage> own = passages_in(passages, segment.id);
    expect_segment(*file, facts, segment, own);
    segments_.push_back({.file = std::move(file),
                         .first_chunk = first_chunk_.back(),
                         .num_chunks = segment.chunks});
    for (const Passage& passage : own) {
      first_chunk_.push_back(first_chunk_.back() + passage.chunks);
      places_.push_back({.segment = segments_.size() - 1, .passage_id = passage.id});
    }
  }
  if (places_.size() != passages.size()) {
    throw Error(ErrorCode::kCorruption, folder.string(), ": ", passages.size() - places_.size(),
                " passages of the catalog are in no segment");
  }
}

void BankSegments::read_record(int64_t document, int64_t first_layer,
                               std::span<std::byte> out) const {
  const Place& place = places_[document];
  const Segment& segment = segments_[place.segment];
  const int64_t chunks_before = first_chunk_[document] - segment.first_chunk;
  const int64_t first =
      chunks_before * facts_.shape.num_layers + first_layer * num_chunks(document);
  try {
    segment.file->read(kContentTensor, static_cast<uint64_t>(first * content_chunk_bytes(facts_)),
                       out);
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), ", wanted for passage ", place.passage_id);
  }
}

}  // namespace msa::memory
