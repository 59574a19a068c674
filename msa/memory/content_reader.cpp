#include "msa/memory/content_reader.h"

#include <algorithm>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

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
  const auto first = static_cast<uint64_t>(first_row * content_layout(segments.facts()).row_bytes);
  if (segments.facts().content_type != kernels::ContentType::kFloat32) {
    segment.file->read(kContentTensor, first, out);
    return;
  }
  std::vector<float> values(out.size() / sizeof(BFloat16));
  segment.file->read(kContentTensor, first, std::as_writable_bytes(std::span(values)));
  std::ranges::transform(values, reinterpret_cast<BFloat16*>(out.data()), to_bfloat16);
}

}  // namespace msa::memory
