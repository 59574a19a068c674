#pragma once
// Writes the segment file of a batch of documents.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/catalog_rows.h"
#include "msa/memory/encoded_documents.h"

namespace msa::memory {

/// Throws Error(kInvalidArgument) if the lists of `encoded` are not of the lengths that its chunks
/// and the shape ask for, Error(kInternal) if a number is not finite.
void expect_storable(const EncodedDocuments& encoded, const MemoryShape& shape);

/// Writes a file with the chunks of these passages, in the types of the bank, and syncs it;
/// publishing it is the caller's. The row is that of segment `id`, but for its tokens.
SegmentRow write_segment(FileSystem& files, const std::filesystem::path& path, int64_t id,
                         const EncodedDocuments& encoded, const std::vector<int64_t>& passage_ids,
                         const BankFacts& facts);

}  // namespace msa::memory
