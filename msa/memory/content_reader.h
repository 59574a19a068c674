#pragma once
// Stored K and V as bfloat16, whatever the bank keeps them in.

#include <cstdint>
#include <span>

#include "msa/base/bfloat16.h"
#include "msa/memory/bank_segments.h"

namespace msa::memory {

/// Values of a segment's content from `first_value` on, rounded to bfloat16 if they are float32.
/// Throws as SegmentFile::read. Calls may run at once.
void read_content(const BankSegments& segments, const BankSegments::Segment& segment,
                  int64_t first_value, std::span<BFloat16> out);

/// The whole record of a document, [L][chunks][2 (K, V)][F]. Throws as BankSegments::read_record.
void read_record(const BankSegments& segments, int64_t document, std::span<BFloat16> out);

}  // namespace msa::memory
