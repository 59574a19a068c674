// msa bench fetch: the chosen documents' K and V, from where a memory keeps them to where attention
// reads them.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/bench_subject.h"
#include "cli/fetch_task.h"
#include "cli/random_bank.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/route_batch.h"
#include "msa/memory/content_reader.h"
#include "msa/memory/segment_layout.h"

namespace msa::cli {
namespace {

using memory::ContentPlace;

struct FetchFlags {
  SubjectFlags subject;
  RandomBankFlags memory;
  BenchFlags bench;
  int64_t documents = 16;
  std::vector<std::string> tiers;
  std::string directory;
};

/// A bank's files in a folder of their own, which goes with this.
class WrittenBank {
 public:
  WrittenBank(const RandomBank& bank, const std::filesystem::path& parent)
      : folder_(parent / ("msa-bench-fetch-" + std::to_string(::getpid()))) {
    MSA_CHECK(!real_file_system().exists(folder_), folder_.string(), " is there already");
    real_file_system().create_directory(folder_);
    try {
      paths_ = bank.write_to(folder_);
    } catch (...) {
      remove();
      throw;
    }
  }
  ~WrittenBank() { remove(); }
  WrittenBank(const WrittenBank&) = delete;
  WrittenBank& operator=(const WrittenBank&) = delete;

  const std::filesystem::path& folder() const { return folder_; }

  /// Asks the system to keep none of the files in memory.
  void leave_memory() const {
    for (const auto& path : paths_) {
      const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      const int error = file < 0 ? errno : ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
      if (file >= 0) ::close(file);
      if (error != 0)
        throw Error(ErrorCode::kIo, "cannot free what memory has of ", path.string(), ": ",
                    std::strerror(error));
    }
  }

  /// Reads `bytes` of the files in order, in large pieces on all threads.
  void read_plainly(int64_t bytes) const {
    constexpr int64_t kPiece = int64_t{8} << 20;
    for (const auto& path : paths_) {
      const auto file = real_file_system().open_to_read(path);
      const int64_t wanted = std::min(bytes, static_cast<int64_t>(file->size()));
      parallel_for((wanted + kPiece - 1) / kPiece, [&](int64_t i) {
        std::vector<std::byte> piece(std::min(kPiece, wanted - i * kPiece));
        file->read_at(static_cast<uint64_t>(i * kPiece), piece);
      });
      bytes -= wanted;
    }
  }

 private:
  void remove() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> paths_;
};

/// Budgets with which content stands on one tier; beside the other two the GPU keeps the documents
/// of a round.
memory::GpuSourceOptions options_for(ContentPlace place, const memory::BankSegments& segments,
                                     memory::GpuSourceOptions options, int64_t num_kept) {
  const memory::TierSizes sizes = memory::GpuSource::sizes(segments, options.scan_keys);
  const int64_t keys = sizes.key_bytes + sizes.stored_key_bytes;
  const int64_t table = sizes.num_documents * static_cast<int64_t>(sizeof(int32_t));
  const int64_t cache = table + num_kept * sizes.record_bytes;
  MSA_CHECK(cache < sizes.content_bytes, "a memory of ", sizes.num_documents,
            " documents is too small: the GPU keeps ", num_kept, " of them beside it");
  options.gpu_bytes = keys + (place == ContentPlace::kGpu ? sizes.content_bytes : cache);
  constexpr int64_t kStagedRecords = 16;
  options.host_bytes =
      place == ContentPlace::kHost ? sizes.content_bytes : kStagedRecords * sizes.record_bytes;
  return options;
}

/// Milliseconds.
struct FetchTimes {
  double fetch = 0;  // median
  double best = 0;   // of the fetches
  double worst = 0;
  double from_cache = 0;  // 0: no cache
  double limit = 0;       // of the same bytes in one piece, from the same place
  int64_t bytes = 0;
};

double median(std::vector<double> times) {
  std::ranges::sort(times);
  return times.empty() ? 0 : times[times.size() / 2];
}

/// `written`: where content on disk is; null for other places.
FetchTimes time_fetch(const FetchFlags& flags, const kernels::Gpu& gpu,
                      const memory::GpuSource& source, const WrittenBank* written,
                      FetchTask& task) {
  const memory::Tiers& tiers = source.tiers();
  const auto num_chosen = static_cast<int64_t>(task.documents().size());
  int64_t number = 0;
  std::vector<double> cold;
  std::vector<double> cached;
  for (int i = 0; i <= flags.bench.repeats; ++i) {  // the first does not count
    task.choose(++number);
    if (written != nullptr) written->leave_memory();
    auto start = Clock::now();
    task.run();
    if (i > 0) cold.push_back(milliseconds_since(start));
    if (tiers.cache_slots < num_chosen) continue;
    source.remember(task.documents());
    gpu.library().synchronize();
    start = Clock::now();
    task.run();
    if (i > 0) cached.push_back(milliseconds_since(start));
  }
  std::ranges::sort(cold);
  FetchTimes times{.fetch = median(cold),
                   .best = cold.front(),
                   .worst = cold.back(),
                   .from_cache = median(cached)};
  const memory::MemoryShape& shape = source.shape();
  if (written != nullptr) {
    // A document is read whole.
    times.bytes = num_chosen * flags.memory.document_chunks * shape.num_layers *
                  memory::content_chunk_bytes(source.segments().facts());
    std::vector<double> limit;
    for (int i = 0; i < flags.bench.repeats; ++i) {
      written->leave_memory();
      const auto start = Clock::now();
      written->read_plainly(times.bytes);
      limit.push_back(milliseconds_since(start));
    }
    times.limit = median(limit);
    return times;
  }
  times.bytes =
      task.capacity() * shape.num_layers * 2 * memory::gpu_row_bytes(source.segments().facts());
  const bool is_on_gpu = tiers.content == ContentPlace::kGpu;
  const kernels::GpuBuffer to(gpu, times.bytes);
  const kernels::GpuBuffer on_gpu(gpu, is_on_gpu ? times.bytes : 16);
  const kernels::PinnedBuffer on_host(gpu, is_on_gpu ? 16 : times.bytes);
  const kernels::GpuStream stream(gpu);
  const Times limit = time_runs(flags.bench, [&] {
    gpu.library().copy_async(to.data(), is_on_gpu ? on_gpu.data() : on_host.data(), times.bytes,
                             stream.get());
    stream.synchronize();
  });
  times.limit = limit.median * 1e3;
  return times;
}

void print(const FetchFlags& flags, const kernels::Gpu& gpu, const memory::GpuSource& source,
           const FetchTimes& times) {
  const bool is_on_disk = source.tiers().content == ContentPlace::kDisk;
  if (flags.bench.is_json) {
    print_json({{"stage", "fetch"},
                {"on", gpu.facts().name},
                {"chunks", flags.memory.chunks},
                {"document_chunks", flags.memory.document_chunks},
                {"content", flags.memory.content_type},
                {"place", to_text(source.tiers())},
                {"documents", flags.documents},
                {"layers", source.shape().num_layers},
                {"bytes", times.bytes},
                {"median_ms", times.fetch},
                {"best_ms", times.best},
                {"worst_ms", times.worst},
                {"from_cache_ms", times.from_cache},
                {"one_copy_ms", times.limit},
                {"ratio", times.fetch / times.limit}});
    return;
  }
  std::printf("%s\n", to_text(source.tiers()).c_str());
  std::printf(
      "fetch %lld documents of %lld chunks in %lld layers, %s, %.1f MB, on %s: %.3f ms median, "
      "%.3f best, %.3f worst; %s of the same bytes %.3f ms, ratio %.2f",
      static_cast<long long>(flags.documents), static_cast<long long>(flags.memory.document_chunks),
      static_cast<long long>(source.shape().num_layers), flags.memory.content_type.c_str(),
      static_cast<double>(times.bytes) / 1e6, gpu.facts().name, times.fetch, times.best,
      times.worst, is_on_disk ? "one plain read" : "one copy", times.limit,
      times.fetch / times.limit);
  if (times.from_cache > 0) std::printf("; from the cache %.3f ms", times.from_cache);
  std::printf("\n");
}

void fetch_from(const FetchFlags& flags, const kernels::Gpu& gpu, RandomBank& bank,
                std::unique_ptr<const memory::BankSegments> segments,
                const memory::GpuSourceOptions& options, const WrittenBank* written) {
  const auto source = memory::GpuSource::load(gpu, std::move(segments), options);
  MSA_CHECK((source->tiers().content == ContentPlace::kDisk) == (written != nullptr),
            "this bank is made up: none of it is on a disk; give it more memory, or --tiers disk");
  FetchTask task(gpu, *source, flags.documents, flags.memory.document_chunks);
  task.choose(0);
  task.run();
  task.expect_fetched(*bank.segments());
  print(flags, gpu, *source, time_fetch(flags, gpu, *source, written, task));
}

void fetch(const FetchFlags& flags) {
  MSA_CHECK(flags.subject.model.device != "cpu", "fetch measures a GPU, not --device cpu");
  const auto gpu = kernels::Gpu::open();
  const auto bank = flags.memory.make(flags.subject.config());
  if (flags.tiers.empty()) {
    return fetch_from(flags, *gpu, *bank, bank->segments(), flags.memory.gpu, nullptr);
  }
  const int64_t num_kept =
      std::max(flags.documents * bank->facts().shape.num_layers, kernels::kMostRouted);
  for (const std::string& tier : flags.tiers) {
    const ContentPlace place = tier == "gpu"    ? ContentPlace::kGpu
                               : tier == "host" ? ContentPlace::kHost
                                                : ContentPlace::kDisk;
    const auto options = options_for(place, *bank->segments(), flags.memory.gpu, num_kept);
    if (place != ContentPlace::kDisk) {
      fetch_from(flags, *gpu, *bank, bank->segments(), options, nullptr);
      continue;
    }
    const WrittenBank written(*bank, flags.directory);
    fetch_from(flags, *gpu, *bank, bank->written_segments(written.folder()), options, &written);
  }
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
  add_flag(command, "--tiers", flags->tiers,
           "gpu, host, disk: one after the other with budgets of their own, in place of the memory "
           "flags; content on disk is written and read from there")
      ->delimiter(',')
      ->check(CLI::IsMember({"gpu", "host", "disk"}));
  flags->directory = std::filesystem::temp_directory_path().string();
  add_flag(command, "--directory", flags->directory, "Where --tiers disk writes its files")
      ->check(CLI::ExistingDirectory);
  flags->bench.add_to(command);
  command.footer("Example: msa bench fetch --tiers gpu,host,disk --document-chunks 16");
  command.callback([flags] { fetch(*flags); });
}

}  // namespace msa::cli
