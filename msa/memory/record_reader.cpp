#include "msa/memory/record_reader.h"

#include <cstring>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/memory/content_reader.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

/// Rounds float32 in place: what is written lies nowhere ahead of what is still to be read.
std::span<const std::byte> rounded_in_place(std::span<std::byte> room, size_t offset,
                                            size_t num_bytes) {
  const size_t count = num_bytes / sizeof(float);
  for (size_t i = 0; i < count; ++i) {
    float value = 0;
    std::memcpy(&value, room.data() + offset + i * sizeof value, sizeof value);
    const BFloat16 rounded = to_bfloat16(value);
    std::memcpy(room.data() + i * sizeof rounded, &rounded, sizeof rounded);
  }
  return room.first(count * sizeof(BFloat16));
}

}  // namespace

RecordReader::RecordReader(const BankSegments& segments, bool wants_ring)
    : segments_(segments), reader_(wants_ring) {}

int64_t RecordReader::room_bytes(const BankFacts& facts, int64_t num_chunks) {
  return num_chunks * facts.shape.num_layers * content_chunk_bytes(facts) +
         2 * static_cast<int64_t>(storage::kDigestBlockBytes);
}

void RecordReader::read(std::span<const Wanted> wanted,
                        const std::function<void(size_t, std::span<const std::byte>)>& arrived) {
  std::vector<storage::SegmentRead> plans;
  std::vector<FileRead> reads;
  for (const Wanted& one : wanted) {
    const auto& plan = plans.emplace_back(segments_.plan_record(one.document));
    reads.push_back(
        {.file = plan.file.get(), .offset = plan.first, .out = one.room.first(plan.size())});
  }
  const BankFacts& facts = segments_.facts();
  reader_.read(reads, [&](size_t i) {
    const auto& [document, room] = wanted[i];
    segments_.check_record(document, plans[i], reads[i].out);
    const size_t offset = plans[i].wanted - plans[i].first;
    const auto num_bytes = static_cast<size_t>(segments_.num_chunks(document) *
                                               facts.shape.num_layers * content_chunk_bytes(facts));
    arrived(i, facts.content_type == kernels::ContentType::kFloat32
                   ? rounded_in_place(room, offset, num_bytes)
                   : std::span<const std::byte>(room.subspan(offset, num_bytes)));
  });
}

}  // namespace msa::memory
