#include "msa/memory/bank_segments.h"

#include "msa/base/error.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

/// Calls `work`; what it throws says for which passage that was.
template <typename Work>
auto naming_passage(int64_t passage_id, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), ", wanted for passage ", passage_id);
  }
}

}  // namespace

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
  naming_passage(place.passage_id, [&] {
    segments_[place.segment].file->read(kContentTensor, record_offset(document, first_layer), out);
  });
}

storage::SegmentRead BankSegments::plan_record(int64_t document) const {
  const Place& place = places_[document];
  const int64_t num_bytes =
      num_chunks(document) * facts_.shape.num_layers * content_chunk_bytes(facts_);
  return naming_passage(place.passage_id, [&] {
    return segments_[place.segment].file->plan_read(kContentTensor, record_offset(document, 0),
                                                    static_cast<uint64_t>(num_bytes));
  });
}

void BankSegments::check_record(int64_t document, const storage::SegmentRead& read,
                                std::span<const std::byte> bytes) const {
  const Place& place = places_[document];
  naming_passage(place.passage_id, [&] { segments_[place.segment].file->check(read, bytes); });
}

/// In the tensor of content.
uint64_t BankSegments::record_offset(int64_t document, int64_t first_layer) const {
  const int64_t chunks_before =
      first_chunk_[document] - segments_[places_[document].segment].first_chunk;
  const int64_t first =
      chunks_before * facts_.shape.num_layers + first_layer * num_chunks(document);
  return static_cast<uint64_t>(first * content_chunk_bytes(facts_));
}

}  // namespace msa::memory
