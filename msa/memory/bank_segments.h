#pragma once
// The segment files of a bank, and where the record of each document lies.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "msa/base/file_pool.h"
#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {

/// Immutable; all calls may run at once. Every byte read has been checked against its digest.
class BankSegments {
 public:
  struct Segment {
    std::unique_ptr<storage::SegmentFile> file;
    int64_t first_chunk = 0;  // of the bank's
    int64_t num_chunks = 0;
  };

  /// Throws Error(kCorruption) with file and offset if a segment is not what the catalog says.
  /// `files` must outlive it. However many segments there are, few of their files are open at once.
  BankSegments(FileSystem& files, const std::filesystem::path& folder, const BankFacts& facts,
               const std::vector<SegmentRow>& segments, const std::vector<Passage>& passages);

  const BankFacts& facts() const { return facts_; }
  const std::vector<Segment>& segments() const { return segments_; }

  int64_t num_documents() const { return static_cast<int64_t>(places_.size()); }
  int64_t num_chunks() const { return first_chunk_.back(); }

  /// [N + 1]: document n has chunks first_chunk()[n] .. first_chunk()[n + 1] - 1.
  const std::vector<int64_t>& first_chunk() const { return first_chunk_; }
  int64_t num_chunks(int64_t document) const {
    return first_chunk_[document + 1] - first_chunk_[document];
  }

  /// Some layers of a document's record, as stored: [layers][chunks][2 (K, V)][G][D]. `out` has
  /// room for exactly these. Throws as SegmentFile::read, naming the passage.
  void read_record(int64_t document, int64_t first_layer, std::span<std::byte> out) const;

  /// The whole record in two steps, as SegmentFile::plan_read and check; these throw naming the
  /// passage.
  storage::SegmentRead plan_record(int64_t document) const;
  void check_record(int64_t document, const storage::SegmentRead& read,
                    std::span<const std::byte> bytes) const;

 private:
  struct Place {
    size_t segment = 0;  // in segments_
    int64_t passage_id = 0;
  };

  uint64_t record_offset(int64_t document, int64_t first_layer) const;

  BankFacts facts_;
  FilePool pool_;
  std::vector<Segment> segments_;
  std::vector<Place> places_;  // [documents]
  std::vector<int64_t> first_chunk_{0};
};

}  // namespace msa::memory
