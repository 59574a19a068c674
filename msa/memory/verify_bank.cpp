#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/file_pool.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

constexpr size_t kMaxNames = 20;  // of documents in one problem

/// Where the chunks of the live passages of a segment begin, which may be damaged. Where none is
/// dead the catalog says it, else a table of the file; nothing if that cannot be read.
std::optional<std::vector<int64_t>> find_stored_chunks(FileSystem& files,
                                                       const std::filesystem::path& path,
                                                       const BankFacts& facts,
                                                       const SegmentRow& row,
                                                       std::span<const Passage> passages) {
  if (static_cast<int64_t>(passages.size()) == row.passages) {
    std::vector<int64_t> stored;
    int64_t chunk = 0;
    for (const Passage& passage : passages) {
      stored.push_back(chunk);
      chunk += passage.chunks;
    }
    return stored;
  }
  try {
    FilePool pool(files, 1);
    const auto file =
        storage::SegmentFile::open(pool, path, static_cast<uint64_t>(row.bytes), row.digest);
    return stored_chunks_of(*file, read_tables(*file, facts, row), passages);
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// Passages whose keys, scales or content lie in the digest block at `offset`; all of the segment's
/// if the block holds what belongs to every passage, or the segment is not as large as its passages
/// need. The tensors stand one after the other up to the digest table: no header is needed.
std::vector<Passage> passages_in_block(const BankFacts& facts, const SegmentRow& row,
                                       std::span<const Passage> passages,
                                       std::span<const int64_t> stored_chunks, uint64_t offset) {
  std::vector<Passage> hit(passages.begin(), passages.end());
  const auto end = storage::digested_bytes_of(static_cast<uint64_t>(row.bytes));
  const auto block_first = static_cast<int64_t>(offset);
  const int64_t block_end = block_first + static_cast<int64_t>(storage::kDigestBlockBytes);
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t key_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  const int64_t scale_bytes = facts.key_type == kernels::NumberType::kInt8 ? sizeof(float) : 0;
  const int64_t record_bytes = num_layers * content_chunk_bytes(facts);
  const int64_t chunk_bytes = num_layers * (key_bytes + scale_bytes) + record_bytes;
  if (!end || row.chunks > static_cast<int64_t>(*end) / chunk_bytes) return hit;
  const int64_t content = static_cast<int64_t>(*end) - row.chunks * record_bytes;
  const int64_t keys = content - num_layers * row.chunks * key_bytes;
  const int64_t scales = keys - num_layers * row.chunks * scale_bytes;
  if (block_first < scales) return hit;
  const auto touches = [&](int64_t start, int64_t chunk, int64_t count, int64_t bytes) {
    return start + chunk * bytes < block_end && start + (chunk + count) * bytes > block_first;
  };
  std::vector<Passage> touched;
  for (size_t n = 0; n < passages.size(); ++n) {
    const Passage& passage = passages[n];
    const int64_t chunk = stored_chunks[n];
    if (passage.chunks > row.chunks - chunk) return hit;
    bool is_hit = touches(content, chunk, passage.chunks, record_bytes);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      const int64_t first = layer * row.chunks + chunk;
      is_hit |= touches(keys, first, passage.chunks, key_bytes);
      is_hit |= scale_bytes > 0 && touches(scales, first, passage.chunks, scale_bytes);
    }
    if (is_hit) touched.push_back(passage);
  }
  return touched;
}

bool is_segment_name(const std::string& name) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && number > 0 && name == segment_file_name(number);
}

class Verification {
 public:
  Verification(FileSystem& files, std::filesystem::path folder)
      : files_(files), folder_(std::move(folder)) {}

  BankCheck run() {
    const auto lock = GenerationLock::hold_all(folder_ / Bank::kReadersFile);
    const std::vector<std::string> present = list_segments();
    try {
      catalog_ = Catalog::open(files_, folder_, storage::Database::Mode::kRead)->check();
      problems_ = std::move(catalog_.problems);
    } catch (const Error& error) {
      report(folder_ / Catalog::kFile, -1, "", error.what());
    }
    for (const SegmentRow& row : catalog_.segments) check_segment(row);
    check_others(present);
    return {.problems = std::move(problems_), .undamaged = undamaged()};
  }

 private:
  /// Nothing if it cannot be told what the bank is.
  std::optional<CatalogSnapshot> undamaged() {
    if (!catalog_.facts) return std::nullopt;
    CatalogSnapshot state{.facts = *catalog_.facts,
                          .format = catalog_.format,
                          .generation = catalog_.generation,
                          .next_passage_id = catalog_.next_passage_id,
                          .segments = std::move(catalog_.segments),
                          .passages = std::move(catalog_.passages)};
    std::ranges::sort(state.passages, {}, &Passage::id);
    std::set<int64_t> segments;
    for (const SegmentRow& row : state.segments) segments.insert(row.id);
    for (const Passage& passage : state.passages) {
      if (!segments.contains(passage.segment)) damaged_documents_.insert(passage.document);
    }
    damaged_documents_.merge(catalog_.damaged_documents);
    state.keep([&](const Passage& passage) {
      return catalog_.names.contains(passage.document) &&
             !damaged_documents_.contains(passage.document);
    });
    return state;
  }

  std::vector<std::string> list_segments() {
    try {
      return files_.list(folder_ / "segments");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      return {};
    }
  }

  void report(const std::filesystem::path& file, int64_t offset, std::string document,
              std::string what) {
    problems_.push_back({file.string(), offset, std::move(document), std::move(what)});
  }

  void report_hit(const std::filesystem::path& file, int64_t offset,
                  std::span<const Passage> passages, std::string what) {
    for (const Passage& passage : passages) damaged_documents_.insert(passage.document);
    report(file, offset, names_of(passages), std::move(what));
  }

  std::string names_of(std::span<const Passage> passages) const {
    std::vector<std::string> names;
    int64_t last = -1;
    for (const Passage& passage : passages) {
      if (passage.document == last) continue;
      last = passage.document;
      const auto name = catalog_.names.find(passage.document);
      if (name != catalog_.names.end()) names.push_back(name->second);
    }
    std::string joined;
    for (size_t i = 0; i < std::min(names.size(), kMaxNames); ++i) {
      joined += (i == 0 ? "" : ", ") + names[i];
    }
    if (names.size() > kMaxNames) {
      joined += " and " + std::to_string(names.size() - kMaxNames) + " more";
    }
    return joined;
  }

  void check_segment(const SegmentRow& row) {
    const auto path = folder_ / "segments" / row.file;
    const auto passages = passages_in(catalog_.passages, row.id);
    const auto num_bytes = static_cast<uint64_t>(row.bytes);
    try {
      const auto damage = storage::find_segment_damage(files_, path, num_bytes, row.digest);
      std::optional<std::vector<int64_t>> stored;
      if (!damage.empty() && catalog_.facts) {
        stored = find_stored_chunks(files_, path, *catalog_.facts, row, passages);
      }
      for (const auto& [offset, what] : damage) {
        const bool is_block = stored && storage::digested_bytes_of(num_bytes) > offset;
        const auto hit = is_block
                             ? passages_in_block(*catalog_.facts, row, passages, *stored, offset)
                             : std::vector(passages.begin(), passages.end());
        report_hit(path, static_cast<int64_t>(offset), hit, what);
      }
      if (!damage.empty() || !catalog_.facts) return;
      FilePool pool(files_, 1);
      const auto file = storage::SegmentFile::open(pool, path, num_bytes, row.digest);
      stored_chunks_of(*file, read_tables(*file, *catalog_.facts, row), passages);
      // With passages amiss the two cannot agree, which has been said already.
      const auto num_passages = static_cast<int64_t>(passages.size());
      const bool must_be_whole = catalog_.has_all_passages && !catalog_.may_hold_dead;
      if (must_be_whole && num_passages != row.passages) {
        throw Error(ErrorCode::kCorruption, "holds ", row.passages, " passages, the catalog has ",
                    num_passages);
      }
    } catch (const Error& error) {
      report_hit(path, -1, passages, error.what());
    }
  }

  /// Files that no good row names. Where the catalog's rows are not all there, they may be those of
  /// a damaged one, and are checked against their own digests.
  void check_others(const std::vector<std::string>& present) {
    std::set<std::string> known;
    for (const SegmentRow& row : catalog_.segments) known.insert(row.file);
    const std::string last = catalog_.segments.empty() ? "" : catalog_.segments.back().file;
    for (const std::string& name : present) {
      if (known.contains(name)) continue;
      const auto path = folder_ / "segments" / name;
      if (!catalog_.has_all_segments) {
        check_by_itself(path);
        continue;
      }
      // A number above the catalog's may be of a commit that is under way or was interrupted, and
      // where segments may be dropped any number of one that readers held.
      const bool is_above = std::pair(name.size(), name) > std::pair(last.size(), last);
      if (!is_above && !(catalog_.may_hold_dead && is_segment_name(name)))
        report(path, -1, "", "the catalog does not know this file");
    }
  }

  void check_by_itself(const std::filesystem::path& path) {
    std::string names;
    for (const SegmentRow& row : catalog_.damaged_segments) {
      if (path.filename() != row.file && path.filename() != segment_file_name(row.id)) continue;
      names = names_of(passages_in(catalog_.passages, row.id));
    }
    try {
      const uint64_t size = files_.open_to_read(path)->size();
      for (const auto& [offset, what] :
           storage::find_segment_damage(files_, path, size, std::nullopt)) {
        report(path, static_cast<int64_t>(offset), names, what);
      }
    } catch (const Error& error) {
      // A writer that opens removes what an interrupted commit left.
      if (error.code() != ErrorCode::kNotFound) report(path, -1, names, error.what());
    }
  }

  FileSystem& files_;
  std::filesystem::path folder_;
  CatalogCheck catalog_;
  std::vector<BankProblem> problems_;
  std::set<int64_t> damaged_documents_;  // rows
};

}  // namespace

BankCheck check_bank(FileSystem& files, const std::filesystem::path& folder) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  return Verification(files, folder).run();
}

std::vector<BankProblem> verify_bank(FileSystem& files, const std::filesystem::path& folder) {
  return check_bank(files, folder).problems;
}

}  // namespace msa::memory
