#include "msa/memory/bank_segments.h"

#include <utility>

#include "msa/base/error.h"
#include "msa/memory/segment_layout.h"
#include "msa/memory/segment_use.h"

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
                           const BankFacts& facts, std::span<const SegmentRow> segments,
                           std::span<const Passage> passages,
                           std::shared_ptr<const GenerationLock> lock)
    : lock_(std::move(lock)), facts_(facts), pool_(files, share_of_descriptors()) {
  SegmentUseCount count({segments.begin(), segments.end()}, folder.string());
  for (const Passage& passage : passages) count.add(passage);
  for (const SegmentUse& use : count.finish()) {
    add_segment(storage::SegmentFile::open(pool_, folder / "segments" / use.row.file,
                                           static_cast<uint64_t>(use.row.bytes), use.row.digest),
                use.row, passages.first(static_cast<size_t>(use.passages)));
    passages = passages.subspan(static_cast<size_t>(use.passages));
  }
}

void BankSegments::add_segment(std::unique_ptr<storage::SegmentFile> file, const SegmentRow& row,
                               std::span<const Passage> passages) {
  const std::vector<int64_t> stored =
      stored_chunks_of(*file, read_tables(*file, facts_, row), passages);
  Segment segment{
      .file = std::move(file), .digest = row.digest, .num_stored_chunks = row.chunks, .runs = {}};
  for (size_t n = 0; n < passages.size(); ++n) {
    const int64_t chunks = passages[n].chunks;
    const bool continues =
        !segment.runs.empty() &&
        segment.runs.back().first_stored + segment.runs.back().count == stored[n];
    if (continues) {
      segment.runs.back().count += chunks;
    } else if (chunks > 0) {
      segment.runs.push_back(
          {.first_stored = stored[n], .first = first_chunk_.back(), .count = chunks});
    }
    places_.push_back({.segment = segments_.size(),
                       .passage_id = passages[n].id,
                       .first_stored_chunk = stored[n]});
    first_chunk_.push_back(first_chunk_.back() + chunks);
  }
  segments_.push_back(std::move(segment));
}

std::map<storage::Digest, const BankSegments::Segment*> BankSegments::by_digest() const {
  std::map<storage::Digest, const Segment*> all;
  for (const Segment& segment : segments_) all[segment.digest] = &segment;
  return all;
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
  const int64_t first = places_[document].first_stored_chunk * facts_.shape.num_layers +
                        first_layer * num_chunks(document);
  return static_cast<uint64_t>(first * content_chunk_bytes(facts_));
}

}  // namespace msa::memory
