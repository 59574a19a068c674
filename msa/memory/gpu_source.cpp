#include "msa/memory/gpu_source.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "msa/base/available_memory.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/gpu_array.h"
#include "msa/memory/content_reader.h"
#include "msa/memory/fold_queries.h"
#include "msa/memory/upload.h"

namespace msa::memory {
namespace {

int64_t next_number() {
  static std::atomic<int64_t> last{0};
  return ++last;
}

}  // namespace

GpuSource::GpuSource(const kernels::Gpu& gpu, std::unique_ptr<const BankSegments> segments)
    : gpu_(gpu),
      number_(next_number()),
      segments_(std::move(segments)),
      row_bytes_(gpu_row_bytes(segments_->facts())) {}

GpuSource::~GpuSource() = default;

std::unique_ptr<GpuSource> GpuSource::load(const kernels::Gpu& gpu,
                                           std::unique_ptr<const BankSegments> segments,
                                           const GpuSourceOptions& options) {
  auto source = std::unique_ptr<GpuSource>(new GpuSource(gpu, std::move(segments)));
  source->place(options);
  return source;
}

TierSizes GpuSource::sizes(const BankSegments& segments, ScanKeys scan) {
  TierSizes sizes{.key_bytes = GpuKeys::other_bytes(segments, scan),
                  .num_documents = segments.num_documents()};
  const int64_t stored_bytes = GpuKeys::stored_bytes(segments);
  (scan == ScanKeys::kInt4 ? sizes.stored_key_bytes : sizes.key_bytes) += stored_bytes;
  const BankFacts& facts = segments.facts();
  const int64_t chunk_bytes = facts.shape.num_layers * 2 * gpu_row_bytes(facts);
  sizes.content_bytes = segments.num_chunks() * chunk_bytes;
  int64_t most_chunks = 0;
  for (int64_t n = 0; n < sizes.num_documents; ++n) {
    most_chunks = std::max(most_chunks, segments.num_chunks(n));
  }
  sizes.record_bytes = most_chunks * chunk_bytes;
  return sizes;
}

/// Decides on the tiers and fills them.
void GpuSource::place(const GpuSourceOptions& options) {
  int64_t gpu_bytes = options.gpu_bytes;
  if (gpu_bytes == 0) {
    kernels::GpuFacts now;
    gpu_.library().find_device(now);
    gpu_bytes = std::max<int64_t>(now.free_bytes - options.gpu_reserve_bytes, 0);
  }
  const bool is_host_given = options.host_bytes != 0;
  const int64_t host_bytes = is_host_given ? options.host_bytes : available_memory_bytes() / 2;
  const TierSizes wanted = sizes(*segments_, options.scan_keys);
  tiers_ = plan_tiers(wanted, gpu_bytes, host_bytes);
  keys_ = std::make_unique<GpuKeys>(
      gpu_, *segments_,
      GpuKeysOptions{.scan = options.scan_keys, .are_stored_on_host = tiers_.host_key_bytes > 0});
  if (tiers_.content == ContentPlace::kHost) {
    try {
      host_content_ = kernels::PinnedBuffer(gpu_, tiers_.content_bytes);
    } catch (const Error&) {
      if (is_host_given) throw;
      // Nobody asked for it.
      tiers_ = plan_tiers(wanted, gpu_bytes, tiers_.host_key_bytes);
    }
  }
  switch (tiers_.content) {
    case ContentPlace::kGpu:
      gpu_content_ = kernels::GpuBuffer(gpu_, tiers_.content_bytes);
      load_content(gpu_content_.data());
      break;
    case ContentPlace::kHost:
      load_content(host_content_.data());
      break;
    case ContentPlace::kDisk:
      room_bytes_ =
          RecordReader::room_bytes(segments_->facts(), wanted.record_bytes / record_bytes(1));
      staging_ = kernels::PinnedBuffer(gpu_, tiers_.staging_slots * room_bytes_);
      reader_ = std::make_unique<RecordReader>(*segments_);
      break;
  }
  if (tiers_.cache_slots > 0) {
    cache_ = std::make_unique<DocumentCache>(
        gpu_, DocumentCacheOptions{.num_documents = num_documents(),
                                   .num_slots = tiers_.cache_slots,
                                   .slot_bytes = wanted.record_bytes,
                                   .is_only_copy = tiers_.content == ContentPlace::kDisk});
  }
}

/// Reads all records in their order; to the GPU or to the host's own memory.
void GpuSource::load_content(std::byte* to) const {
  const int64_t most_rows = std::max<int64_t>(kMostUploaded / row_bytes_, 1);
  std::vector<UploadPart> parts;
  segments_->for_each_run([&](const BankSegments::Segment& segment, const ChunkRun& run) {
    std::byte* const run_to = to + record_bytes(run.first);
    const int64_t chunk_rows = shape().num_layers * 2;
    const int64_t num_rows = run.count * chunk_rows;
    for (int64_t row = 0; row < num_rows; row += most_rows) {
      const int64_t stored = run.first_stored * chunk_rows + row;
      parts.push_back({.to = run_to + row * row_bytes_,
                       .num_bytes = std::min(most_rows, num_rows - row) * row_bytes_,
                       .read = [this, &segment, stored](std::span<std::byte> out) {
                         read_content(*segments_, segment, stored, out);
                       }});
    }
  });
  if (tiers_.content == ContentPlace::kGpu) {
    upload(gpu_, parts);
    return;
  }
  parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    parts[i].read({parts[i].to, static_cast<size_t>(parts[i].num_bytes)});
  });
}

void GpuSource::gather(int64_t layer, const kernels::ScoredDocument* selected, int64_t top_k,
                       const GatherTarget& target, kernels::CudaStream stream) const {
  kernels::GatherRecordsParams params{.selected = selected,
                                      .top_k = top_k,
                                      .first_chunk = keys_->first_chunk(),
                                      .type = gpu_content_type(segments_->facts()),
                                      .layer = layer,
                                      .num_layers = shape().num_layers,
                                      .num_kv_heads = shape().num_kv_heads,
                                      .head_dim = shape().head_dim,
                                      .key = target.key,
                                      .value = target.value,
                                      .first_row = target.first_row,
                                      .capacity = target.capacity,
                                      .num_rows = target.num_rows,
                                      .overflow = target.overflow};
  params.content =
      tiers_.content == ContentPlace::kGpu ? gpu_content_.data() : host_content_.data();
  if (cache_) {
    params.slot = cache_->slots();
    params.cached = cache_->records();
    params.slot_bytes = cache_->slot_bytes();
  }
  const auto queue = [&] { gpu_.library().gather_records(params, stream); };
  if (!cache_) {
    queue();
  } else if (tiers_.content == ContentPlace::kHost) {
    cache_->read(stream, queue);
  } else {
    MSA_CHECK(top_k >= 0 && top_k <= kernels::kMostRouted, "gather: at most ", kernels::kMostRouted,
              " documents, got ", top_k);
    std::vector<kernels::ScoredDocument> chosen(top_k);
    gpu_.library().copy_async(chosen.data(), selected,
                              top_k * static_cast<int64_t>(sizeof(kernels::ScoredDocument)),
                              stream);
    gpu_.library().synchronize_stream(stream);
    std::vector<int64_t> documents(top_k);
    std::ranges::transform(chosen, documents.begin(), &kernels::ScoredDocument::document);
    cache_->read(
        documents, [&](auto entries, auto copies) { read_records(entries, copies); }, stream,
        queue);
  }
}

void GpuSource::remember(std::span<const int64_t> documents) const {
  if (!cache_ || tiers_.content != ContentPlace::kHost) return;  // a gather from disk does it
  cache_->keep(documents, [&](auto entries, auto copies) { copy_records(entries, copies); });
}

/// From the host's memory.
void GpuSource::copy_records(std::span<const DocumentCache::Entry> entries,
                             kernels::CudaStream stream) const {
  for (const auto& [document, slot] : entries) {
    gpu_.library().copy_async(
        slot, host_content_.data() + record_bytes(segments_->first_chunk()[document]),
        record_bytes(num_chunks(document)), stream);
  }
}

/// From disk, as many at a time as staging holds; each is copied when it has been read.
void GpuSource::read_records(std::span<const DocumentCache::Entry> entries,
                             kernels::CudaStream stream) const {
  while (!entries.empty()) {
    const auto now = entries.first(std::min<size_t>(entries.size(), tiers_.staging_slots));
    std::vector<RecordReader::Wanted> wanted;
    for (const auto& [document, slot] : now) {
      std::byte* const room = staging_.data() + static_cast<int64_t>(wanted.size()) * room_bytes_;
      wanted.push_back({.document = document, .room = {room, static_cast<size_t>(room_bytes_)}});
    }
    reader_->read(wanted, [&](size_t i, std::span<const std::byte> record) {
      gpu_.library().copy_async(now[i].slot, record.data(), static_cast<int64_t>(record.size()),
                                stream);
    });
    gpu_.library().synchronize_stream(stream);  // staging is read again
    entries = entries.subspan(now.size());
  }
}

std::vector<kernels::ScoredDocument> GpuSource::route(int64_t layer, const RoutingQuery& query,
                                                      int64_t top_k,
                                                      std::span<float> document_scores) const {
  MSA_CHECK(layer >= 0 && layer < shape().num_layers, "route: there is no router layer ", layer);
  MSA_CHECK(
      query.num_tokens > 0 && query.num_heads > 0 && query.num_heads % shape().num_kv_heads == 0,
      "route: ", query.num_heads, " heads of ", query.num_tokens, " tokens do not fit ",
      shape().num_kv_heads, " kv heads");
  MSA_CHECK(query.rule.is_folded(),
            "route: the GPU takes the mean over heads and the best chunk only");
  MSA_CHECK(document_scores.empty(), "route: the GPU gives the scores of chosen documents only");
  MSA_CHECK(top_k >= 0 && top_k <= kernels::kMostRouted, "route: the GPU chooses up to ",
            kernels::kMostRouted, " documents, got ", top_k);
  std::vector<kernels::ScoredDocument> chosen(std::min(top_k, num_documents()));
  if (chosen.empty() || segments_->num_chunks() == 0) return {};
  const std::vector<float> folded = fold_queries(query, shape());
  const int64_t first_token[] = {0, static_cast<int64_t>(folded.size()) / shape().key_dim()};
  const kernels::GpuArray<float> queries(gpu_, std::span<const float>(folded));
  const kernels::GpuArray<kernels::ScoredDocument> selected(gpu_,
                                                            static_cast<int64_t>(chosen.size()));
  kernels::RouteBatchParams params{.query = queries.data(),
                                   .first_token = first_token,
                                   .num_questions = 1,
                                   .top_k = static_cast<int64_t>(chosen.size()),
                                   .selected = selected.data()};
  set_routing(layer, params);
  const kernels::GpuBuffer workspace(gpu_, gpu_.library().route_batch_workspace_bytes(params));
  gpu_.library().route_batch(params, workspace.data(), nullptr);
  selected.copy_to_host(chosen.data());
  std::erase_if(chosen, [](const auto& scored) { return scored.document < 0; });
  return chosen;
}

void GpuSource::fetch(int64_t layer, std::span<const int64_t> documents, float* key,
                      float* value) const {
  MSA_CHECK(layer >= 0 && layer < shape().num_layers, "fetch: there is no router layer ", layer);
  for (const int64_t document : documents) {
    MSA_CHECK(document >= 0 && document < num_documents(), "fetch: there is no document ",
              document);
  }
  while (!documents.empty()) {
    const auto now = documents.first(std::min<size_t>(documents.size(), kernels::kMostRouted));
    fetch_some(layer, now, key, value);
    documents = documents.subspan(now.size());
  }
}

void GpuSource::fetch_some(int64_t layer, std::span<const int64_t> documents, float*& key,
                           float*& value) const {
  int64_t num_rows = 0;
  std::vector<kernels::ScoredDocument> chosen;
  for (const int64_t document : documents) {
    num_rows += num_chunks(document);
    chosen.push_back({.document = document});
  }
  const kernels::GpuArray<kernels::ScoredDocument> selected(
      gpu_, std::span<const kernels::ScoredDocument>(chosen));
  const kernels::GpuArray<int32_t> counts(gpu_, std::array<int32_t, 2>{});
  const int64_t num_values = num_rows * shape().key_dim();
  const kernels::GpuArray<BFloat16> keys(gpu_, num_values);
  const kernels::GpuArray<BFloat16> values(gpu_, num_values);
  gather(layer, selected.data(), static_cast<int64_t>(documents.size()),
         {.key = keys.data(),
          .value = values.data(),
          .capacity = num_rows,
          .num_rows = counts.data(),
          .overflow = counts.data() + 1},
         nullptr);
  std::vector<BFloat16> rows(num_values);
  for (const auto& [from, to] : {std::pair(&keys, &key), std::pair(&values, &value)}) {
    from->copy_to_host(rows.data());
    *to = std::ranges::transform(rows, *to, to_float).out;
  }
}

}  // namespace msa::memory
