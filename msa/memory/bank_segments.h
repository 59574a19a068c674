#pragma once
// The segment files of a bank, and where the record of each document lies.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "msa/base/file_pool.h"
#include "msa/base/file_system.h"
#include "msa/base/generation_lock.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {

/// Chunks that stand side by side in a segment and in the bank.
struct ChunkRun {
  int64_t first_stored = 0;  // of the segment's
  int64_t first = 0;         // of the bank's
  int64_t count = 0;
};

/// Immutable; all calls may run at once. Every byte read has been checked against its digest.
/// Records of deleted documents are passed over: they cost nothing but their place on disk.
class BankSegments {
 public:
  struct Segment {
    std::unique_ptr<storage::SegmentFile> file;
    storage::Digest digest{};       // of the file's digest table
    int64_t num_stored_chunks = 0;  // dead ones too
    std::vector<ChunkRun> runs;     // what is alive, in order
  };

  /// What a run's keys, say, are read with: calls work(segment, run) for all of the bank.
  template <typename Work>
  void for_each_run(const Work& work) const {
    for (const Segment& segment : segments_) {
      for (const ChunkRun& run : segment.runs) work(segment, run);
    }
  }

  /// `segments` in any order, `passages` by rising id. Throws Error(kCorruption) with file and
  /// offset if a segment is not what the catalog says. `files` must outlive it. However many
  /// segments there are, few of their files are open at once. `lock` keeps the files from being
  /// removed; null if nobody would.
  BankSegments(FileSystem& files, const std::filesystem::path& folder, const BankFacts& facts,
               std::span<const SegmentRow> segments, std::span<const Passage> passages,
               std::shared_ptr<const GenerationLock> lock = nullptr);

  const BankFacts& facts() const { return facts_; }
  const std::vector<Segment>& segments() const { return segments_; }

  /// Segments by the digest of their digests.
  std::map<storage::Digest, const Segment*> by_digest() const;

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
    int64_t first_stored_chunk = 0;  // of the segment's
  };

  void add_segment(std::unique_ptr<storage::SegmentFile> file, const SegmentRow& row,
                   std::span<const Passage> passages);
  uint64_t record_offset(int64_t document, int64_t first_layer) const;

  std::shared_ptr<const GenerationLock> lock_;  // shared with the bank, which may go first
  BankFacts facts_;
  FilePool pool_;
  std::vector<Segment> segments_;
  std::vector<Place> places_;  // [documents]
  std::vector<int64_t> first_chunk_{0};
};

}  // namespace msa::memory
