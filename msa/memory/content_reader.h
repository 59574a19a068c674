#pragma once
// Stored K and V in the form that a GPU keeps: as in the bank, but float32 as bfloat16.

#include <cstddef>
#include <cstdint>
#include <span>

#include "msa/kernels/content_rows.h"
#include "msa/memory/bank_segments.h"

namespace msa::memory {

/// The type that a GPU keeps a bank's content in.
kernels::ContentType gpu_content_type(const BankFacts& facts);

/// Bytes of a row of K or V of that type.
int64_t gpu_row_bytes(const BankFacts& facts);

/// Rows of a segment's content from `first_row` on; `out` has room for whole rows. Throws as
/// SegmentFile::read. Calls may run at once.
void read_content(const BankSegments& segments, const BankSegments::Segment& segment,
                  int64_t first_row, std::span<std::byte> out);

}  // namespace msa::memory
