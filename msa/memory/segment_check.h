#pragma once
// What is wrong with one segment of a bank, and which documents that hits.

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog.h"

namespace msa::memory {

struct SegmentCheck {
  std::vector<BankProblem> problems;    // empty: the file is as it was written
  std::set<int64_t> damaged_documents;  // rows
};

/// Reads every byte of a segment of the bank in `folder`, and compares it with what the catalog
/// says; `row` is one of `catalog`'s.
SegmentCheck check_segment(FileSystem& files, const std::filesystem::path& folder,
                           const CatalogCheck& catalog, const SegmentRow& row);

/// Throws Error(kCorruption), or as FileSystem::open_to_read, unless the file has the size and the
/// digest table of the row, and its tables say of its passages what the catalog does. Facts of the
/// catalog must be good. Keys and content are not read.
void expect_tables(FileSystem& files, const std::filesystem::path& folder,
                   const CatalogCheck& catalog, const SegmentRow& row);

/// Names of the documents of these passages, as far as they are known; of many the first.
std::string names_of(const CatalogCheck& catalog, std::span<const Passage> passages);

}  // namespace msa::memory
