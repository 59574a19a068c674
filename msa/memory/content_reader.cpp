#include "msa/memory/content_reader.h"

#include <algorithm>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

/// Calls read(bytes) for the bytes as they are stored.
template <typename Read>
void read_rounded(const BankSegments& segments, std::span<std::byte> out, const Read& read) {
  if (segments.facts().content_type != kernels::ContentType::kFloat32) {
    read(out);
    return;
  }
  std::vector<float> values(out.size() / sizeof(BFloat16));
  read(std::as_writable_bytes(std::span(values)));
  std::ranges::transform(values, reinterpret_cast<BFloat16*>(out.data()), to_bfloat16);
}

}  // namespace

kernels::ContentType gpu_content_type(const BankFacts& facts) {
  return facts.content_type == kernels::ContentType::kFloat32 ? kernels::ContentType::kBFloat16
                                                              : facts.content_type;
}

int64_t gpu_row_bytes(const BankFacts& facts) {
  return kernels::content_layout(gpu_content_type(facts), facts.shape.num_kv_heads,
                                 facts.shape.head_dim)
      .row_bytes;
}

void read_content(const BankSegments& segments, const BankSegments::Segment& segment,
                  int64_t first_row, std::span<std::byte> out) {
  read_rounded(segments, out, [&](std::span<std::byte> bytes) {
    const int64_t first = first_row * content_layout(segments.facts()).row_bytes;
    segment.file->read(kContentTensor, static_cast<uint64_t>(first), bytes);
  });
}

}  // namespace msa::memory
