#include "msa/memory/content_reader.h"

#include <algorithm>
#include <vector>

#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

/// Calls read(bytes) for the bytes as they are stored.
template <typename Read>
void read_rounded(const BankSegments& segments, std::span<BFloat16> out, const Read& read) {
  if (segments.facts().content_type == kernels::NumberType::kBFloat16) {
    read(std::as_writable_bytes(out));
    return;
  }
  std::vector<float> values(out.size());
  read(std::as_writable_bytes(std::span(values)));
  std::ranges::transform(values, out.begin(), to_bfloat16);
}

}  // namespace

void read_content(const BankSegments& segments, const BankSegments::Segment& segment,
                  int64_t first_value, std::span<BFloat16> out) {
  read_rounded(segments, out, [&](std::span<std::byte> bytes) {
    const int64_t first = first_value * kernels::bytes_of(segments.facts().content_type);
    segment.file->read(kContentTensor, static_cast<uint64_t>(first), bytes);
  });
}

void read_record(const BankSegments& segments, int64_t document, std::span<BFloat16> out) {
  read_rounded(segments, out,
               [&](std::span<std::byte> bytes) { segments.read_record(document, 0, bytes); });
}

}  // namespace msa::memory
