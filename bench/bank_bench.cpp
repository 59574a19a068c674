// What a bank of many small documents costs beside encoding: commits, opening, looking up,
// replacing, compaction. No model is needed; every result is checked before it is printed.
//
// usage: bank_bench FOLDER [--documents N] [--batch N] [--replacements N] [--seed N] [--compact]
// FOLDER must not be there, or hold a bank that this program made; it stays.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {
namespace {

constexpr MemoryShape kShape{
    .num_layers = 1, .num_kv_heads = 1, .head_dim = 16, .chunk_tokens = 64};
constexpr int64_t kLookUps = 1'000;

struct Options {
  std::filesystem::path folder;
  int64_t documents = 100'000;
  int64_t batch = 1'000;
  int64_t replacements = 1'000;
  uint64_t seed = 1;
  bool compacts = false;
};

BankFacts facts() {
  return {.model_fingerprint = "bench",
          .tokenizer_fingerprint = "bench",
          .model_name = "bench",
          .shape = kShape,
          .max_passage_tokens = 1'000,
          .key_type = kernels::NumberType::kInt8,
          .content_type = kernels::ContentType::kInt8};
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of seconds, as milliseconds.
std::string spread(std::vector<double> times) {
  std::ranges::sort(times);
  const auto at = [&](double part) {
    return times[static_cast<size_t>(part * static_cast<double>(times.size() - 1))] * 1e3;
  };
  char text[128];
  std::snprintf(text, sizeof text, "median %.3f ms, 95 of 100 below %.3f ms, worst %.1f ms",
                at(0.5), at(0.95), at(1));
  return text;
}

int64_t bytes_in(const std::filesystem::path& folder) {
  int64_t sum = 0;
  std::error_code error;
  for (auto file = std::filesystem::recursive_directory_iterator(folder, error);
       file != std::filesystem::recursive_directory_iterator(); file.increment(error)) {
    const auto size = file->file_size(error);
    if (!error) sum += static_cast<int64_t>(size);
  }
  return sum;
}

RandomBatch next_batch(const BankWriter& writer, int64_t documents, uint32_t seed) {
  return make_random_batch(kShape, {.first_id = writer.next_passage_id(),
                                    .num_documents = documents,
                                    .max_passages = 1,
                                    .max_chunks = 2,
                                    .seed = seed});
}

void ingest(const Options& options) {
  const auto writer = BankWriter::open(real_file_system(), options.folder, facts());
  std::vector<double> times;
  double all = 0;
  for (int64_t left = options.documents; left > 0; left -= options.batch) {
    const RandomBatch batch =
        next_batch(*writer, std::min(left, options.batch), static_cast<uint32_t>(left));
    times.push_back(seconds_of([&] { writer->commit(batch.documents, batch.encoded); }));
    all += times.back();
  }
  std::printf("commit of %lld documents: %s; %.4f ms a document\n",
              static_cast<long long>(options.batch), spread(times).c_str(),
              all * 1e3 / static_cast<double>(options.documents));
}

int64_t resident_bytes_at_most() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} << 10;
}

void read(const Options& options) {
  const int64_t before = resident_bytes_at_most();
  std::unique_ptr<Bank> bank;
  const double opening = seconds_of([&] { bank = Bank::open(real_file_system(), options.folder); });
  const auto num_passages = static_cast<int64_t>(bank->passages().size());
  const int64_t resident = resident_bytes_at_most() - before;
  BankStats stats;
  std::vector<double> times;
  for (int n = 0; n < 15; ++n) times.push_back(seconds_of([&] { stats = bank->stats(); }));
  MSA_CHECK(stats.documents == options.documents, "holds ", stats.documents, " documents");
  std::printf("bank: %lld documents, %lld passages, %lld segments, %.1f MB\n",
              static_cast<long long>(stats.documents), static_cast<long long>(num_passages),
              static_cast<long long>(stats.segments), static_cast<double>(stats.bytes) * 1e-6);
  std::printf("open: %.3f s, %.0f bytes a passage resident at most\n", opening,
              static_cast<double>(resident) / static_cast<double>(num_passages));
  std::printf("stats: %s\n", spread(times).c_str());
  for (const int64_t offset : {int64_t{0}, options.documents - 100}) {
    std::vector<Document> page;
    const double time = seconds_of([&] { page = bank->list(offset, 100); });
    MSA_CHECK(page.size() == 100, "a list of ", page.size());
    std::printf("list 100 from %lld on: %.3f ms\n", static_cast<long long>(offset), time * 1e3);
  }
  std::mt19937_64 random(options.seed);
  times.clear();
  for (int64_t n = 0; n < kLookUps; ++n) {
    const Passage& passage = bank->passages()[random() % bank->passages().size()];
    const std::string name = bank->document_of(passage)->name;
    times.push_back(seconds_of([&] {
      MSA_CHECK(bank->find(name)->row == passage.document, "another document is called ", name);
    }));
  }
  std::printf("find by name: %s\n", spread(times).c_str());
  std::unique_ptr<ChunkSource> source;
  const double loading = seconds_of([&] { source = bank->source(); });
  MSA_CHECK(source->num_documents() == num_passages, "the source is of another bank");
  std::printf(
      "keys into RAM: %.3f s, %.0f bytes a passage resident at most\n", loading,
      static_cast<double>(resident_bytes_at_most() - before) / static_cast<double>(num_passages));
}

/// One document a commit, as a service does that keeps up with its sources. Without upkeep every
/// segment is full, so that none is merged.
void replace(const Options& options, bool has_upkeep) {
  const CompactionPolicy policy =
      has_upkeep ? CompactionPolicy{}
                 : CompactionPolicy{.max_segment_bytes = 1, .max_segment_passages = 1};
  std::vector<std::string> names;
  {
    const auto bank = Bank::open(real_file_system(), options.folder);
    std::mt19937_64 random(options.seed + (has_upkeep ? 2 : 1));
    for (int64_t n = 0; n < options.replacements; ++n) {
      names.push_back(
          bank->document_of(bank->passages()[random() % bank->passages().size()])->name);
    }
  }
  std::unique_ptr<BankWriter> writer;
  const double opening = seconds_of(
      [&] { writer = BankWriter::open(real_file_system(), options.folder, facts(), policy); });
  std::printf("open to write: %.3f s\n", opening);
  std::vector<double> times;
  for (const std::string& name : names) {
    RandomBatch batch = next_batch(*writer, 1, static_cast<uint32_t>(writer->next_passage_id()));
    batch.documents[0].name = name;
    times.push_back(
        seconds_of([&] { writer->commit(batch.documents, batch.encoded, KnownName::kReplace); }));
  }
  std::printf("replacement %s upkeep: first %.1f ms, then %s\n", has_upkeep ? "with" : "without",
              times.front() * 1e3, spread({times.begin() + 1, times.end()}).c_str());
}

void compact(const Options& options) {
  const auto writer = BankWriter::open(real_file_system(), options.folder, facts());
  const int64_t before = bytes_in(options.folder);
  std::atomic<bool> is_done = false;
  int64_t most = before;
  std::thread watch([&] {
    while (!is_done) {
      most = std::max(most, bytes_in(options.folder));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  Compacted done;
  const double time = seconds_of([&] { done = writer->compact(); });
  is_done = true;
  watch.join();
  std::printf(
      "compaction: %.2f s, %lld segments anew; %.1f MB before, %.1f MB at most, %.1f MB after\n",
      time, static_cast<long long>(done.segments), static_cast<double>(before) * 1e-6,
      static_cast<double>(most) * 1e-6, static_cast<double>(bytes_in(options.folder)) * 1e-6);
}

/// In a process of its own: what it had resident is not the next one's.
void run_apart(const std::function<void()>& work) {
  std::fflush(stdout);
  const pid_t child = fork();
  MSA_CHECK(child >= 0, "cannot start a process");
  if (child == 0) {
    int result = 0;
    try {
      work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "bank_bench: %s\n", error.what());
      result = 1;
    }
    std::fflush(stdout);
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  MSA_CHECK(status == 0, "a part of the benchmark failed");
}

}  // namespace
}  // namespace msa::memory

int main(int argc, char** argv) {
  using namespace msa::memory;
  Options options;
  CLI::App app("What a bank of many small documents costs beside encoding");
  app.add_option("folder", options.folder)->required();
  app.add_option("--documents", options.documents)->check(CLI::Range(200, 100'000'000));
  app.add_option("--batch", options.batch, "Documents a commit")->check(CLI::PositiveNumber);
  app.add_option("--replacements", options.replacements, "0, or at least 2")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", options.seed, "Of what is looked up and replaced");
  app.add_flag("--compact", options.compacts);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!std::filesystem::exists(options.folder)) run_apart([&] { ingest(options); });
    run_apart([&] { read(options); });
    for (const bool has_upkeep : {false, true}) {
      if (options.replacements > 0) run_apart([&] { replace(options, has_upkeep); });
    }
    if (options.compacts) {
      run_apart([&] { compact(options); });
      run_apart([&] { read(options); });
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bank_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
