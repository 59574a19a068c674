#pragma once
// Copies what is alive of some segments into a new one.

#include <filesystem>
#include <span>

#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"

namespace msa::memory {

/// Writes a segment file with the stored bytes of these passages, which are all that is alive of
/// `segments`, by rising id, and syncs it; publishing it is the caller's. Returns the row of
/// segment `id`. Every byte is checked against its digest before it is written; of the records few
/// are in memory at once. Throws Error(kCorruption) naming file and offset if one is damaged.
SegmentRow merge_segments(FileSystem& files, const std::filesystem::path& folder,
                          const BankFacts& facts, std::span<const SegmentRow> segments,
                          std::span<const Passage> passages, const std::filesystem::path& path,
                          int64_t id);

}  // namespace msa::memory
