#include "msa/memory/bank_source.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/content_rows.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {

BankSource::BankSource(std::unique_ptr<const BankSegments> segments, BankSource* previous)
    : segments_(std::move(segments)),
      index_(segments_->facts().shape, segments_->facts().key_type) {
  std::vector<int64_t> num_chunks(segments_->num_documents());
  for (size_t n = 0; n < num_chunks.size(); ++n) {
    num_chunks[n] = segments_->num_chunks(static_cast<int64_t>(n));
  }
  index_.reserve(num_chunks);
  const std::vector<Segment>& all = segments_->segments();
  const auto num_segments = static_cast<int64_t>(all.size());
  const int64_t num_layers = segments_->facts().shape.num_layers;
  const bool is_alike = previous != nullptr && previous->shape() == shape() &&
                        previous->segments_->facts().key_type == segments_->facts().key_type;
  if (!is_alike) {
    parallel_for(num_segments * num_layers,
                 [&](int64_t i) { load(all[i / num_layers], i % num_layers, nullptr, nullptr); });
    return;
  }
  const auto held = previous->segments_->by_digest();
  const auto held_of = [&](const Segment& segment) {
    const auto found = held.find(segment.digest);
    return found == held.end() ? nullptr : found->second;
  };
  // Pages of a layer are taken as it is filled, so that both states together never hold much more
  // than one of them.
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    parallel_for(num_segments, [&](int64_t i) { load(all[i], layer, previous, held_of(all[i])); });
    previous->index_.release(layer);
  }
}

/// `held` is the same segment as `previous` has it; null if it has not.
void BankSource::load(const Segment& segment, int64_t layer, const BankSource* previous,
                      const Segment* held) {
  for (const ChunkRun& run : segment.runs) {
    int64_t done = 0;
    const auto part = [&](int64_t count) {
      const ChunkRun rest{
          .first_stored = run.first_stored + done, .first = run.first + done, .count = count};
      done += count;
      return rest;
    };
    for (const ChunkRun& old : held == nullptr ? std::span<const ChunkRun>() : held->runs) {
      const int64_t first = std::max(run.first_stored + done, old.first_stored);
      const int64_t end = std::min(run.first_stored + run.count, old.first_stored + old.count);
      if (first >= end) continue;
      const int64_t gap = first - (run.first_stored + done);
      if (gap > 0) read(segment, layer, part(gap));
      copy(layer, part(end - first), *previous, old.first + first - old.first_stored);
    }
    if (done < run.count) read(segment, layer, part(run.count - done));
  }
}

void BankSource::read(const Segment& segment, int64_t layer, const ChunkRun& run) {
  const BankFacts& facts = segments_->facts();
  const int64_t row_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  const int64_t stored = layer * segment.num_stored_chunks + run.first_stored;
  segment.file->read(kRoutingKeyTensor, static_cast<uint64_t>(stored * row_bytes),
                     index_.rows(layer, run.first, run.count));
  if (facts.key_type == kernels::NumberType::kInt8) {
    segment.file->read(kRoutingScaleTensor, static_cast<uint64_t>(stored * 4),
                       std::as_writable_bytes(index_.scales(layer, run.first, run.count)));
  }
}

void BankSource::copy(int64_t layer, const ChunkRun& run, const BankSource& previous,
                      int64_t from) {
  std::ranges::copy(previous.index_.rows(layer, from, run.count),
                    index_.rows(layer, run.first, run.count).begin());
  std::ranges::copy(previous.index_.scales(layer, from, run.count),
                    index_.scales(layer, run.first, run.count).begin());
}

void BankSource::fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                       float* value) const {
  const BankFacts& facts = segments_->facts();
  const int64_t chunk_bytes = content_chunk_bytes(facts);
  MSA_CHECK(layer >= 0 && layer < facts.shape.num_layers, "fetch: there is no router layer ",
            layer);
  std::vector<std::byte> record;
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
    const int64_t count = num_chunks(document);
    record.resize(count * chunk_bytes);
    segments_->read_record(document, layer, record);
    const std::byte* from = record.data();
    for (int64_t c = 0; c < count; ++c) {
      for (float** to : {&key, &value}) {
        kernels::dequantize_content({.row = from,
                                     .num_rows = 1,
                                     .num_kv_heads = facts.shape.num_kv_heads,
                                     .head_dim = facts.shape.head_dim,
                                     .type = facts.content_type,
                                     .out = *to});
        *to += facts.shape.key_dim();
        from += chunk_bytes / 2;
      }
    }
  }
}

}  // namespace msa::memory
