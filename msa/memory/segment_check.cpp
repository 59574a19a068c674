#include "msa/memory/segment_check.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "msa/base/error.h"
#include "msa/base/file_pool.h"
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

}  // namespace

std::string names_of(const CatalogCheck& catalog, std::span<const Passage> passages) {
  std::vector<std::string> names;
  int64_t last = -1;
  for (const Passage& passage : passages) {
    if (passage.document == last) continue;
    last = passage.document;
    const auto name = catalog.names.find(passage.document);
    if (name != catalog.names.end()) names.push_back(name->second);
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

void expect_tables(FileSystem& files, const std::filesystem::path& folder,
                   const CatalogCheck& catalog, const SegmentRow& row) {
  const auto passages = passages_in(catalog.passages, row.id);
  FilePool pool(files, 1);
  const auto file = storage::SegmentFile::open(pool, folder / "segments" / row.file,
                                               static_cast<uint64_t>(row.bytes), row.digest);
  stored_chunks_of(*file, read_tables(*file, *catalog.facts, row), passages);
  // With passages amiss the two cannot agree, which has been said already.
  const auto num_passages = static_cast<int64_t>(passages.size());
  const bool must_be_whole = catalog.has_all_passages && !catalog.may_hold_dead;
  if (must_be_whole && num_passages != row.passages) {
    throw Error(ErrorCode::kCorruption, "holds ", row.passages, " passages, the catalog has ",
                num_passages);
  }
}

SegmentCheck check_segment(FileSystem& files, const std::filesystem::path& folder,
                           const CatalogCheck& catalog, const SegmentRow& row) {
  const auto path = folder / "segments" / row.file;
  const auto passages = passages_in(catalog.passages, row.id);
  const auto num_bytes = static_cast<uint64_t>(row.bytes);
  SegmentCheck check;
  const auto report = [&](int64_t offset, std::span<const Passage> hit, const std::string& what) {
    check.problems.push_back({path.string(), offset, names_of(catalog, hit), what});
    for (const Passage& passage : hit) check.damaged_documents.insert(passage.document);
  };
  try {
    const auto damage = storage::find_segment_damage(files, path, num_bytes, row.digest);
    std::optional<std::vector<int64_t>> stored;
    if (!damage.empty() && catalog.facts) {
      stored = find_stored_chunks(files, path, *catalog.facts, row, passages);
    }
    for (const auto& [offset, what] : damage) {
      const bool is_block = stored && storage::digested_bytes_of(num_bytes) > offset;
      const auto hit = is_block ? passages_in_block(*catalog.facts, row, passages, *stored, offset)
                                : std::vector(passages.begin(), passages.end());
      report(static_cast<int64_t>(offset), hit, what);
    }
    if (damage.empty() && catalog.facts) expect_tables(files, folder, catalog, row);
  } catch (const Error& error) {
    report(-1, passages, error.what());
  }
  return check;
}

}  // namespace msa::memory
