// No memory: the n-th allocation of our code, or of SQLite, fails, n = 1, 2 ... until none does, in
// all that is done with a bank. A clean exception, a bank as before or after, and all goes on.

#include <gtest/gtest.h>
#include <omp.h>
#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <new>
#include <ostream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"
#include "tests/crash/bank_check.h"
#include "tests/crash/changes.h"

namespace {

// Allocations left before one fails; below 0 none does.
std::atomic<int64_t> cpp_left{-1};
std::atomic<int64_t> sqlite_left{-1};
std::atomic<int64_t> cpp_held{0};  // allocations that have not been freed

bool fails(std::atomic<int64_t>& left) {
  if (left.load(std::memory_order_relaxed) < 0) return false;
  return left.fetch_sub(1, std::memory_order_relaxed) == 0;
}

void* allocate(size_t bytes, size_t alignment) {
  if (fails(cpp_left)) return nullptr;
  cpp_held.fetch_add(1, std::memory_order_relaxed);
  if (alignment == 0) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void release(void* place) {
  if (place != nullptr) cpp_held.fetch_sub(1, std::memory_order_relaxed);
  std::free(place);
}

void* allocate_or_throw(size_t bytes, size_t alignment = 0) {
  void* place = allocate(bytes, alignment);
  if (place == nullptr) throw std::bad_alloc();
  return place;
}

}  // namespace

void* operator new(size_t bytes) { return allocate_or_throw(bytes); }
void* operator new[](size_t bytes) { return allocate_or_throw(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 0); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 0); }
void operator delete(void* place) noexcept { release(place); }
void operator delete[](void* place) noexcept { release(place); }
void operator delete(void* place, size_t) noexcept { release(place); }
void operator delete[](void* place, size_t) noexcept { release(place); }
void operator delete(void* place, std::align_val_t) noexcept { release(place); }
void operator delete[](void* place, std::align_val_t) noexcept { release(place); }
void operator delete(void* place, size_t, std::align_val_t) noexcept { release(place); }
void operator delete[](void* place, size_t, std::align_val_t) noexcept { release(place); }
void operator delete(void* place, const std::nothrow_t&) noexcept { release(place); }
void operator delete[](void* place, const std::nothrow_t&) noexcept { release(place); }

namespace msa::crash {
namespace {

using memory::Bank;
using memory::BankWriter;

memory::RandomBatch batch_of(int64_t first_id) {
  return memory::make_random_batch(
      memory::crash_facts().shape,
      {.first_id = first_id, .num_documents = 2, .max_passages = 1, .seed = 3});
}

/// SQLite's own allocator, with failures.
sqlite3_mem_methods& sqlite_memory() {
  static sqlite3_mem_methods methods;
  return methods;
}

void install_sqlite_memory() {
  sqlite3_mem_methods failing;
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite_memory());
  failing = sqlite_memory();
  failing.xMalloc = [](int bytes) -> void* {
    return fails(sqlite_left) ? nullptr : sqlite_memory().xMalloc(bytes);
  };
  failing.xRealloc = [](void* place, int bytes) -> void* {
    return fails(sqlite_left) ? nullptr : sqlite_memory().xRealloc(place, bytes);
  };
  ASSERT_EQ(sqlite3_config(SQLITE_CONFIG_MALLOC, &failing), SQLITE_OK);
}

struct Work {
  const char* name;
  bool changes_bank;
  std::function<void(const std::filesystem::path&)> run;
};

void read_bank(const std::filesystem::path& folder) {
  const auto files = memory::crash_files(folder);
  const auto bank = Bank::open(*files, folder);
  const auto source = bank->source();
  const memory::MemoryShape& shape = source->shape();
  std::vector<float> query(static_cast<size_t>(shape.key_dim()), 1.0F);
  const memory::RoutingQuery routing{
      .values = query.data(), .num_tokens = 1, .num_heads = shape.num_kv_heads, .rule = {}};
  source->route(0, routing, 2, {});
  for (int64_t place = 0; place < source->num_documents(); ++place) {
    std::vector<float> rows(static_cast<size_t>(2 * source->num_chunks(place) * shape.key_dim()));
    source->fetch(1, std::span(&place, 1), rows.data(), rows.data() + rows.size() / 2);
  }
  for (const auto& listed : bank->list(0, 100)) bank->find(listed.name);
}

const Work kWorks[] = {
    {"Read", false, read_bank},
    {"Verify", false,
     [](const auto& folder) {
       // What it could not read for lack of memory it reports.
       const auto files = memory::crash_files(folder);
       for (const auto& problem : memory::verify_bank(*files, folder)) {
         throw Error(ErrorCode::kCorruption, problem.what);
       }
     }},
    {"Commit", true,
     [](const auto& folder) {
       const auto files = memory::crash_files(folder);
       const auto writer = BankWriter::open(*files, folder, memory::crash_facts());
       const memory::RandomBatch batch = batch_of(writer->next_passage_id());
       writer->commit(batch.documents, batch.encoded);
     }},
    {"Forget", true,
     [](const auto& folder) {
       const auto files = memory::crash_files(folder);
       const auto writer = BankWriter::open_existing(*files, folder);
       const std::string names[] = {"doc-1"};
       writer->forget(names);
     }},
    {"Compact", true,
     [](const auto& folder) {
       const auto files = memory::crash_files(folder);
       BankWriter::open_existing(*files, folder)->compact(true);
     }},
};

/// What must be given back, whatever failed.
struct Held {
  int64_t open_files = 0;
  int64_t cpp_allocations = 0;
  int64_t sqlite_bytes = 0;

  bool operator==(const Held&) const = default;
};

void PrintTo(const Held& held, std::ostream* out) {
  *out << held.open_files << " files, " << held.cpp_allocations << " allocations, "
       << held.sqlite_bytes << " bytes of SQLite";
}

Held held_now() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return {count, cpp_held, sqlite3_memory_used()};
}

enum class Fails { kOwn, kOwnEncrypted, kSqlite };

class MemoryFailure : public testing::TestWithParam<std::tuple<Work, Fails>> {
 protected:
  static void SetUpTestSuite() {
    static const bool is_installed = (install_sqlite_memory(), true);
    ASSERT_TRUE(is_installed);
    omp_set_num_threads(1);
  }
  void SetUp() override {
    // SQLite syncs, which here need not reach a disk.
    const std::filesystem::path memory = "/dev/shm";
    const bool has_memory = access(memory.c_str(), W_OK) == 0;
    root_ = (has_memory ? memory : std::filesystem::path(testing::TempDir())) /
            ("msa_memory_failure_" + std::to_string(getpid()));
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
    const auto files = memory::crash_files(before());
    const auto writer = BankWriter::open(*files, before(), memory::crash_facts());
    for (int n = 0; n < 2; ++n) {
      const memory::RandomBatch batch = batch_of(writer->next_passage_id());
      writer->commit(batch.documents, batch.encoded);
    }
    const std::string names[] = {"doc-" + std::to_string(writer->next_passage_id() - 1)};
    ASSERT_EQ(writer->forget(names).documents, 1);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static std::string suffix() {
    return std::get<1>(GetParam()) == Fails::kOwnEncrypted ? ".encrypted" : "";
  }
  std::filesystem::path before() const { return root_ / ("before" + suffix()); }
  std::filesystem::path bank() const { return root_ / ("bank" + suffix()); }

  std::filesystem::path fresh_bank() const {
    std::filesystem::remove_all(bank());
    std::filesystem::copy(before(), bank(), std::filesystem::copy_options::recursive);
    return bank();
  }
  static BankContents contents(const std::filesystem::path& folder) {
    const auto files = memory::crash_files(folder);
    return contents_of(*Bank::open(*files, folder));
  }

  std::filesystem::path root_;
};

TEST_P(MemoryFailure, OfAnyAllocationIsACleanErrorAndTheBankStaysGood) {
  const auto& [work, fails] = GetParam();
  std::atomic<int64_t>& left = fails == Fails::kSqlite ? sqlite_left : cpp_left;
  std::vector<BankContents> acceptable{contents(before())};
  work.run(fresh_bank());
  acceptable.push_back(contents(bank()));
  // All of them where it is asked for, else the first ones and a part of the later ones.
  const bool takes_all = std::getenv("MSA_ALL_ALLOCATIONS") != nullptr;
  int64_t tried = 0;
  int64_t failed = 0;
  for (int64_t n = 0;; n += takes_all ? 1 : 1 + n / 32) {
    const auto folder = work.changes_bank || n == 0 ? fresh_bank() : bank();
    char what[200] = {};
    const Held before = held_now();
    left = n;
    try {
      work.run(folder);
    } catch (const std::bad_alloc&) {
      std::snprintf(what, sizeof what, "std::bad_alloc");
    } catch (const Error& error) {
      std::snprintf(what, sizeof what, "%s", error.what());
    }
    const bool is_over = left >= 0;  // as many allocations were not made
    left = -1;
    ++tried;
    failed += what[0] == 0 ? 0 : 1;
    ASSERT_EQ(held_now(), before) << "allocation " << n << ": " << what;
    if (work.changes_bank || is_over) {
      const BankVerdict verdict = check_bank(folder, acceptable, false);
      ASSERT_EQ(verdict.problem, "") << "allocation " << n << ": " << what;
    }
    if (is_over) {
      ASSERT_STREQ(what, "");
      std::printf("%lld of %lld allocations failed, %lld ended the work\n",
                  static_cast<long long>(tried - 1), static_cast<long long>(n),
                  static_cast<long long>(failed));
      break;
    }
  }
  EXPECT_GT(failed, 10);
}

INSTANTIATE_TEST_SUITE_P(All, MemoryFailure,
                         testing::Combine(testing::ValuesIn(kWorks),
                                          testing::Values(Fails::kOwn, Fails::kOwnEncrypted,
                                                          Fails::kSqlite)),
                         [](const auto& info) {
                           const Fails fails = std::get<1>(info.param);
                           return std::string(std::get<0>(info.param).name) +
                                  (fails == Fails::kOwn      ? "Own"
                                   : fails == Fails::kSqlite ? "SQLite"
                                                             : "OwnEncrypted");
                         });

}  // namespace
}  // namespace msa::crash
