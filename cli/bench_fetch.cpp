// msa bench fetch: the chosen documents' K and V, from where a memory keeps them to where attention
// reads them.

#include <algorithm>
#include <cstdio>

#include "cli/bench_subject.h"
#include "cli/random_bank.h"
#include "msa/base/error.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/gpu_array.h"
#include "msa/memory/content_reader.h"
#include "msa/memory/gpu_source.h"

namespace msa::cli {
namespace {

struct FetchFlags {
  SubjectFlags subject;
  RandomBankFlags memory;
  BenchFlags bench;
  int64_t documents = 16;
};

/// The rows of all layers of some documents, brought together on the GPU.
class Fetch {
 public:
  Fetch(const kernels::Gpu& gpu, const memory::GpuSource& source, int64_t documents)
      : gpu_(gpu),
        source_(source),
        num_documents_(documents),
        stream_(gpu),
        selected_(gpu, source.shape().num_layers * documents),
        rows_(gpu, 2 * source.shape().num_layers * capacity() * source.shape().key_dim()),
        counts_(gpu, 2) {}

  int64_t capacity() const { return num_documents_ * kRandomDocumentChunks; }
  int64_t num_layers() const { return source_.shape().num_layers; }

  /// Other documents in every layer: those of round `number`.
  void choose(int64_t number) {
    std::vector<kernels::ScoredDocument> chosen;
    for (int64_t i = 0; i < num_layers() * num_documents_; ++i) {
      const auto place = static_cast<uint64_t>(number * num_layers() * num_documents_ + i);
      const uint64_t hash = (place + 1) * 0x9e3779b97f4a7c15U;
      chosen.push_back({.document = static_cast<int64_t>(
                            (hash >> 20) % static_cast<uint64_t>(source_.num_documents()))});
    }
    gpu_.library().copy(selected_.data(), chosen.data(), selected_.num_bytes());
    documents_.clear();
    for (const auto& choice : chosen) documents_.push_back(choice.document);
  }
  const std::vector<int64_t>& documents() const { return documents_; }  // [L, documents]

  void run() {
    for (int64_t layer = 0; layer < num_layers(); ++layer) {
      source_.gather(layer, selected_.data() + layer * num_documents_, num_documents_,
                     {.key = key(layer),
                      .value = key(layer) + capacity() * source_.shape().key_dim(),
                      .capacity = capacity(),
                      .num_rows = counts_.data(),
                      .overflow = counts_.data() + 1},
                     stream_.get());
    }
    stream_.synchronize();
  }

  /// K, then V of a layer.
  std::vector<BFloat16> rows(int64_t layer) const {
    std::vector<BFloat16> rows(2 * capacity() * source_.shape().key_dim());
    gpu_.library().copy(rows.data(), key(layer), static_cast<int64_t>(rows.size()) * 2);
    return rows;
  }

 private:
  BFloat16* key(int64_t layer) const {
    return rows_.data() + 2 * layer * capacity() * source_.shape().key_dim();
  }

  const kernels::Gpu& gpu_;
  const memory::GpuSource& source_;
  int64_t num_documents_;
  kernels::GpuStream stream_;
  kernels::GpuArray<kernels::ScoredDocument> selected_;
  kernels::GpuArray<BFloat16> rows_;
  kernels::GpuArray<int32_t> counts_;
  std::vector<int64_t> documents_;
};

/// A document's record as the bank holds it, [L][chunks][2 (K, V)][F], rounded.
std::vector<BFloat16> stored_record(const memory::BankSegments& segments, int64_t document) {
  const memory::BankFacts& facts = segments.facts();
  const int64_t num_rows = facts.shape.num_layers * segments.num_chunks(document) * 2;
  std::vector<std::byte> stored(num_rows * memory::gpu_row_bytes(facts));
  memory::read_record(segments, document, stored);
  std::vector<float> values(num_rows * facts.shape.key_dim());
  kernels::dequantize_content({.row = stored.data(),
                               .num_rows = num_rows,
                               .num_kv_heads = facts.shape.num_kv_heads,
                               .head_dim = facts.shape.head_dim,
                               .type = memory::gpu_content_type(facts),
                               .out = values.data()});
  std::vector<BFloat16> record(values.size());
  std::ranges::transform(values, record.begin(), to_bfloat16);
  return record;
}

/// Throws unless the rows of the first and the last layer are those that the bank holds.
void expect_fetched(const Fetch& fetch, const memory::BankSegments& segments) {
  const memory::MemoryShape& shape = segments.facts().shape;
  const int64_t dim = shape.key_dim();
  for (const int64_t layer : {int64_t{0}, shape.num_layers - 1}) {
    const auto rows = fetch.rows(layer);
    const auto num_documents = static_cast<int64_t>(fetch.documents().size()) / shape.num_layers;
    int64_t row = 0;
    for (int64_t n = 0; n < num_documents; ++n) {
      const int64_t document = fetch.documents()[layer * num_documents + n];
      const int64_t chunks = segments.num_chunks(document);
      const std::vector<BFloat16> record = stored_record(segments, document);
      for (int64_t c = 0; c < chunks; ++c, ++row) {
        for (int64_t part = 0; part < 2; ++part) {
          const auto* wanted = record.data() + ((layer * chunks + c) * 2 + part) * dim;
          const auto* got = rows.data() + (part * fetch.capacity() + row) * dim;
          if (!std::equal(wanted, wanted + dim, got,
                          [](BFloat16 a, BFloat16 b) { return a.bits == b.bits; })) {
            throw Error(ErrorCode::kInternal, "wrong result: document ", document, ", layer ",
                        layer, ", chunk ", c);
          }
        }
      }
    }
  }
}

void fetch(const FetchFlags& flags) {
  MSA_CHECK(flags.subject.model.device != "cpu", "fetch measures a GPU, not --device cpu");
  const auto gpu = kernels::Gpu::open();
  const auto bank = flags.memory.make(flags.subject.config());
  const auto source = memory::GpuSource::load(*gpu, bank->segments(), flags.memory.gpu);
  MSA_CHECK(source->tiers().content != memory::ContentPlace::kDisk,
            "this bank is made up: none of it is on a disk; give it more memory");
  Fetch fetch(*gpu, *source, flags.documents);
  fetch.choose(0);
  fetch.run();
  expect_fetched(fetch, *bank->segments());

  int64_t number = 0;
  std::vector<double> cold;
  std::vector<double> cached;
  for (int i = 0; i <= flags.bench.repeats; ++i) {  // the first does not count
    fetch.choose(++number);
    auto start = Clock::now();
    fetch.run();
    cold.push_back(milliseconds_since(start));
    if (source->tiers().cache_slots < static_cast<int64_t>(fetch.documents().size())) continue;
    source->remember(fetch.documents());
    gpu->library().synchronize();
    start = Clock::now();
    fetch.run();
    cached.push_back(milliseconds_since(start));
  }
  // The limit: one copy of the same bytes from where they are.
  const memory::MemoryShape& shape = source->shape();
  const bool is_on_gpu = source->tiers().content == memory::ContentPlace::kGpu;
  const int64_t bytes =
      fetch.capacity() * shape.num_layers * 2 * memory::gpu_row_bytes(bank->facts());
  const kernels::GpuBuffer to(*gpu, bytes);
  const kernels::GpuBuffer on_gpu(*gpu, is_on_gpu ? bytes : 16);
  const kernels::PinnedBuffer on_host(*gpu, is_on_gpu ? 16 : bytes);
  const kernels::GpuStream stream(*gpu);
  const Times limit = time_runs(flags.bench, [&] {
    gpu->library().copy_async(to.data(), is_on_gpu ? on_gpu.data() : on_host.data(), bytes,
                              stream.get());
    stream.synchronize();
  });
  const auto median = [](std::vector<double> times) {
    if (times.size() < 2) return 0.0;
    std::sort(times.begin() + 1, times.end());
    return times[1 + (times.size() - 1) / 2];
  };
  const double copy_ms = limit.median * 1e3;
  const OrderedJson json{{"stage", "fetch"},
                         {"on", gpu->facts().name},
                         {"chunks", flags.memory.chunks},
                         {"content", flags.memory.content_type},
                         {"place", to_text(source->tiers())},
                         {"documents", flags.documents},
                         {"layers", shape.num_layers},
                         {"bytes", bytes},
                         {"median_ms", median(cold)},
                         {"from_cache_ms", median(cached)},
                         {"one_copy_ms", copy_ms},
                         {"ratio", median(cold) / copy_ms}};
  if (flags.bench.is_json) return print_json(json);
  std::printf("%s\n", to_text(source->tiers()).c_str());
  std::printf(
      "fetch %lld documents in %lld layers, %.1f MB, on %s: %.3f ms median; one copy of the same "
      "bytes %.3f ms, ratio %.2f",
      static_cast<long long>(flags.documents), static_cast<long long>(shape.num_layers),
      static_cast<double>(bytes) / 1e6, gpu->facts().name, median(cold), copy_ms,
      median(cold) / copy_ms);
  if (!cached.empty()) std::printf("; from the cache %.3f ms", median(cached));
  std::printf("\n");
}

}  // namespace

void add_bench_fetch(CLI::App& bench) {
  auto flags = std::make_shared<FetchFlags>();
  CLI::App& command = *bench.add_subcommand(
      "fetch", "The chosen documents' K and V of all router layers, to where attention reads them");
  flags->subject.add_to(command);
  flags->memory.add_to(command);
  add_flag(command, "--documents", flags->documents, "Chosen in every layer")
      ->check(CLI::Range(int64_t{1}, kernels::kMostRouted));
  flags->bench.add_to(command);
  command.footer("Example: msa bench fetch --chunks 100000 --gpu-memory 1GB");
  command.callback([flags] { fetch(*flags); });
}

}  // namespace msa::cli
