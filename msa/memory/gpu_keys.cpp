#include "msa/memory/gpu_keys.h"

#include <algorithm>
#include <atomic>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/memory/key_length.h"
#include "msa/memory/segment_layout.h"
#include "msa/memory/upload.h"

namespace msa::memory {
namespace {

int64_t row_bytes(const BankFacts& facts) {
  return facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
}

/// Scales of one layer: every layer's begin at whole 16 bytes.
int64_t scale_stride(const BankSegments& segments) {
  constexpr int64_t kTogether = 4;
  return (segments.num_chunks() + kTogether - 1) / kTogether * kTogether;
}

int64_t packed_bytes(const BankSegments& segments) {
  return kernels::packed_key_bytes(segments.num_chunks(), segments.facts().shape.key_dim());
}

void expect_packable(const kernels::Gpu& gpu, const BankFacts& facts) {
  if (gpu.facts().capability / 10 != 9) {
    throw Error(ErrorCode::kDevice, "int4 keys are scanned by GPUs of compute capability 9.x, ",
                gpu.facts().name, " has ", gpu.facts().capability / 10, ".",
                gpu.facts().capability % 10);
  }
  if (facts.shape.key_dim() > kernels::kMostPackedDim) {
    throw Error(ErrorCode::kDevice, "int4 keys have at most ", kernels::kMostPackedDim,
                " values, the bank's have ", facts.shape.key_dim());
  }
}

}  // namespace

GpuKeys::GpuKeys(const kernels::Gpu& gpu, const BankSegments& segments,
                 const GpuKeysOptions& options)
    : segments_(segments), options_(options) {
  const BankFacts& facts = segments.facts();
  if (facts.key_type == kernels::NumberType::kFloat32) {
    throw Error(ErrorCode::kDevice, "the GPU routes over keys of bf16 or int8, the bank's are f32");
  }
  if (row_bytes(facts) % 16 != 0 || facts.shape.key_dim() % 8 != 0) {
    throw Error(ErrorCode::kDevice, "the GPU routes over keys of whole 16 bytes, the bank's have ",
                facts.shape.key_dim(), " values");
  }
  if (options.scan == ScanKeys::kInt4) expect_packable(gpu, facts);
  load_tables(gpu);
  load_keys(gpu);
  if (options.scan == ScanKeys::kInt4) pack_keys(gpu);
}

int64_t GpuKeys::stored_bytes(const BankSegments& segments) {
  const BankFacts& facts = segments.facts();
  return facts.shape.num_layers * segments.num_chunks() * row_bytes(facts);
}

int64_t GpuKeys::other_bytes(const BankSegments& segments, ScanKeys scan) {
  const BankFacts& facts = segments.facts();
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t scale_bytes =
      num_layers * scale_stride(segments) * static_cast<int64_t>(sizeof(float));
  int64_t bytes = segments.num_chunks() * static_cast<int64_t>(sizeof(int32_t)) +
                  (segments.num_documents() + 1) * static_cast<int64_t>(sizeof(int64_t));
  if (facts.key_type == kernels::NumberType::kInt8) bytes += scale_bytes;
  if (scan == ScanKeys::kInt4) bytes += num_layers * packed_bytes(segments) + scale_bytes;
  return bytes;
}

int64_t GpuKeys::scanned_bytes() const {
  return packed_.size() > 0 ? packed_.size() : stored_bytes(segments_);
}

void GpuKeys::load_tables(const kernels::Gpu& gpu) {
  std::vector<int32_t> document_of_chunk(segments_.num_chunks());
  for (int64_t n = 0; n < segments_.num_documents(); ++n) {
    std::fill_n(document_of_chunk.begin() + segments_.first_chunk()[n], segments_.num_chunks(n),
                static_cast<int32_t>(n));
  }
  document_of_chunk_ = {gpu, std::span<const int32_t>(document_of_chunk)};
  first_chunk_ = {gpu, std::span<const int64_t>(segments_.first_chunk())};
}

/// [L, scale_stride()], on the host as on the GPU.
std::vector<float> GpuKeys::load_scales(const kernels::Gpu& gpu) {
  const int64_t num_layers = segments_.facts().shape.num_layers;
  const int64_t stride = scale_stride(segments_);
  std::vector<float> scales(num_layers * stride);
  segments_.for_each_run([&](const BankSegments::Segment& segment, const ChunkRun& run) {
    parallel_for(num_layers, [&](int64_t layer) {
      const std::span rows(scales.data() + layer * stride + run.first,
                           static_cast<size_t>(run.count));
      const int64_t stored = layer * segment.num_stored_chunks + run.first_stored;
      segment.file->read(kRoutingScaleTensor, static_cast<uint64_t>(stored * 4),
                         std::as_writable_bytes(rows));
    });
  });
  scales_ = {gpu, std::span<const float>(scales)};
  return scales;
}

void GpuKeys::load_keys(const kernels::Gpu& gpu) {
  const BankFacts& facts = segments_.facts();
  const int64_t bytes = row_bytes(facts);
  const int64_t most_rows = std::max<int64_t>(kMostUploaded / bytes, 1);
  const int64_t stride = scale_stride(segments_);
  std::vector<float> scales;
  if (facts.key_type == kernels::NumberType::kInt8) scales = load_scales(gpu);
  if (options_.are_stored_on_host) {
    host_keys_ = kernels::PinnedBuffer(gpu, stored_bytes(segments_));
  } else {
    gpu_keys_ = kernels::GpuBuffer(gpu, stored_bytes(segments_));
  }
  std::byte* to = options_.are_stored_on_host ? host_keys_.data() : gpu_keys_.data();
  std::atomic<float> longest = 0;
  std::vector<UploadPart> parts;
  segments_.for_each_run([&](const BankSegments::Segment& segment, const ChunkRun& run) {
    for (int64_t layer = 0; layer < facts.shape.num_layers; ++layer) {
      for (int64_t row = 0; row < run.count; row += most_rows) {
        const int64_t count = std::min(most_rows, run.count - row);
        const int64_t chunk = run.first + row;
        const int64_t stored = layer * segment.num_stored_chunks + run.first_stored + row;
        const auto offset = static_cast<uint64_t>(stored * bytes);
        const float* scale = scales.empty() ? nullptr : scales.data() + layer * stride + chunk;
        const auto read = [&segment, &facts, &longest, offset, count,
                           scale](std::span<std::byte> out) {
          segment.file->read(kRoutingKeyTensor, offset, out);
          const float length = longest_key({.row = out.data(),
                                            .scale = scale,
                                            .num_rows = count,
                                            .dim = facts.shape.key_dim(),
                                            .type = facts.key_type});
          float known = longest;
          while (known < length && !longest.compare_exchange_weak(known, length)) {
          }
        };
        parts.push_back({.to = to + (layer * segments_.num_chunks() + chunk) * bytes,
                         .num_bytes = count * bytes,
                         .read = read});
      }
    }
  });
  if (options_.are_stored_on_host) {
    parallel_for(static_cast<int64_t>(parts.size()), [&](int64_t i) {
      parts[i].read({parts[i].to, static_cast<size_t>(parts[i].num_bytes)});
    });
  } else {
    upload(gpu, parts);
  }
  longest_ = longest;
}

/// The GPU reads the bank's rows from wherever they are.
void GpuKeys::pack_keys(const kernels::Gpu& gpu) {
  const BankFacts& facts = segments_.facts();
  packed_ = kernels::GpuBuffer(gpu, facts.shape.num_layers * packed_bytes(segments_));
  packed_scales_ = {gpu, facts.shape.num_layers * scale_stride(segments_)};
  const kernels::GpuArray<float> longest(gpu, std::span<const float>(&longest_packed_, 1));
  for (int64_t layer = 0; layer < facts.shape.num_layers; ++layer) {
    gpu.library().pack_keys({.key_type = facts.key_type,
                             .key = layer_keys(layer),
                             .key_scale = layer_scales(layer),
                             .num_chunks = segments_.num_chunks(),
                             .key_dim = facts.shape.key_dim(),
                             .value = packed_.data() + layer * packed_bytes(segments_),
                             .scale = packed_scales_.data() + layer * scale_stride(segments_),
                             .longest = longest.data()},
                            nullptr);
  }
  longest.copy_to_host(&longest_packed_);
}

const std::byte* GpuKeys::layer_keys(int64_t layer) const {
  const std::byte* all = options_.are_stored_on_host ? host_keys_.data() : gpu_keys_.data();
  return all + layer * segments_.num_chunks() * row_bytes(segments_.facts());
}

/// Null for keys without scales.
const float* GpuKeys::layer_scales(int64_t layer) const {
  return scales_.size() == 0 ? nullptr : scales_.data() + layer * scale_stride(segments_);
}

void GpuKeys::set_routing(int64_t layer, kernels::RouteBatchParams& params) const {
  const BankFacts& facts = segments_.facts();
  params.key_type = facts.key_type;
  params.key = layer_keys(layer);
  params.key_scale = layer_scales(layer);
  params.packed = {};
  if (packed_.size() > 0) {
    params.packed = {.value = packed_.data() + layer * packed_bytes(segments_),
                     .scale = packed_scales_.data() + layer * scale_stride(segments_),
                     .longest = longest_packed_};
  }
  params.document_of_chunk = document_of_chunk_.data();
  params.first_chunk = first_chunk();
  params.longest_key = longest_;
  params.num_documents = segments_.num_documents();
  params.num_chunks = segments_.num_chunks();
  params.key_dim = facts.shape.key_dim();
}

}  // namespace msa::memory
