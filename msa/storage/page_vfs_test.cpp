#include "msa/storage/page_vfs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <string>

#include "msa/base/error.h"
#include "msa/storage/database.h"

namespace msa::storage {
namespace {

namespace fs = std::filesystem;

/// Attacks by one who can write every file, but has no key.
class PageVfsTest : public testing::Test {
 protected:
  PageVfsTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PageVfsTest() override { fs::remove_all(folder_); }

  /// A database of one table with this many rows.
  void write(const fs::path& path, const char* vfs, int rows, const std::string& word = "word") {
    const Database database(path, Database::Mode::kCreate, vfs);
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)");
    append(database, rows, word);
  }
  static void append(const Database& database, int rows, const std::string& word = "word") {
    database.execute("BEGIN");
    for (int n = 0; n < rows; ++n) {
      database.prepare("INSERT INTO t (text) VALUES (?)").bind(1, word + std::to_string(n)).run();
    }
    database.execute("COMMIT");
  }
  std::string read() const {
    const Database database(path_, Database::Mode::kRead, vfs_.name());
    std::string all;
    auto rows = database.prepare("SELECT text FROM t ORDER BY id");
    while (rows.next()) all += rows.text(0) + ' ';
    return all;
  }
  /// What reading throws; nothing if it throws nothing.
  std::optional<ErrorCode> refusal() const {
    try {
      read();
      return std::nullopt;
    } catch (const Error& error) {
      return error.code();
    }
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void store(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }
  void remove_beside() const {
    for (const char* end : {"-wal", "-shm", "-journal"}) fs::remove(path_.string() + end);
  }
  /// A log of a process that was killed.
  std::pair<std::string, std::string> left_over_log(int rows, const std::string& word) {
    const Database database(path_, Database::Mode::kWrite, vfs_.name());
    append(database, rows, word);
    return {bytes_of(path_), bytes_of(path_.string() + "-wal")};
  }

  PageVfs vfs_{CipherKey{std::byte{9}}};
  fs::path folder_ = fs::path(testing::TempDir()) / "msa_page_vfs";
  fs::path path_ = folder_ / "a.db";
};

TEST_F(PageVfsTest, ADatabaseIsWhatItIsWithout) {
  write(path_, vfs_.name(), 3000);
  write(folder_ / "plain.db", nullptr, 3000);
  const std::string all = read();
  {
    const Database plain(folder_ / "plain.db", Database::Mode::kRead);
    auto rows = plain.prepare("SELECT group_concat(text, ' ') || ' ' FROM t");
    ASSERT_TRUE(rows.next());
    EXPECT_EQ(rows.text(0), all);
  }
  EXPECT_EQ(bytes_of(path_).find("word"), std::string::npos);
  const Database database(path_, Database::Mode::kWrite, vfs_.name());
  database.execute("DELETE FROM t WHERE id % 3 = 0");
  database.rebuild(folder_ / "copy.db");
  auto check = database.prepare("PRAGMA integrity_check");
  ASSERT_TRUE(check.next());
  EXPECT_EQ(check.text(0), "ok");
  EXPECT_EQ(bytes_of(folder_ / "copy.db").find("word"), std::string::npos);
}

TEST_F(PageVfsTest, ALogThatWasLeftIsReadAndGoneOnWith) {
  write(path_, vfs_.name(), 100);
  const auto [database, log] = left_over_log(50, "late");
  ASSERT_GT(log.size(), 4000U);
  EXPECT_EQ(log.find("late"), std::string::npos);
  remove_beside();
  store(path_, database);
  store(path_.string() + "-wal", log);
  {
    const Database again(path_, Database::Mode::kWrite, vfs_.name());  // writes the log once more
    append(again, 1, "last");
  }
  const std::string all = read();
  EXPECT_NE(all.find("late49 last0"), std::string::npos);
  EXPECT_NE(all.find("word99"), std::string::npos);
}

TEST_F(PageVfsTest, APlainDatabaseIsRefusedWhateverItsPageSize) {
  for (const char* size : {"512", "1024", "4096", "8192", "65536"}) {
    for (const char* mode : {"WAL", "DELETE"}) {
      fs::remove(path_);
      remove_beside();
      {
        sqlite3* plain = nullptr;
        ASSERT_EQ(sqlite3_open(path_.c_str(), &plain), SQLITE_OK);
        const std::string sql = std::string("PRAGMA page_size=") + size +
                                "; PRAGMA journal_mode=" + mode +
                                "; CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                                "INSERT INTO t (text) VALUES ('forged');";
        ASSERT_EQ(sqlite3_exec(plain, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
        sqlite3_close(plain);
      }
      EXPECT_EQ(refusal(), ErrorCode::kCorruption) << size << ' ' << mode;
    }
  }
}

TEST_F(PageVfsTest, APlainLogIsNoPartOfADatabase) {
  write(path_, vfs_.name(), 100);
  const std::string good = read();
  const std::string database = bytes_of(path_);
  for (const char* size : {"512", "1024", "2048", "4096", "8192"}) {
    const fs::path plain = folder_ / "plain.db";
    std::string log;
    {
      fs::remove(plain);
      sqlite3* handle = nullptr;
      ASSERT_EQ(sqlite3_open(plain.c_str(), &handle), SQLITE_OK);
      const std::string sql = std::string("PRAGMA page_size=") + size +
                              "; PRAGMA journal_mode=WAL;"
                              "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                              "INSERT INTO t (text) VALUES ('forged');";
      ASSERT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
      log = bytes_of(plain.string() + "-wal");
      sqlite3_close(handle);
    }
    ASSERT_FALSE(log.empty());
    remove_beside();
    store(path_, database);
    store(path_.string() + "-wal", log);
    EXPECT_EQ(read(), good) << "the log is none: it ends at once; page size " << size;
  }
}

TEST_F(PageVfsTest, AJournalThatSomebodyPutThereIsNotRolledBack) {
  write(path_, vfs_.name(), 100);
  // A journal as SQLite writes it, of a plain database of the same pages.
  const fs::path plain = folder_ / "plain.db";
  std::string journal;
  {
    sqlite3* handle = nullptr;
    ASSERT_EQ(sqlite3_open(plain.c_str(), &handle), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(handle,
                           "PRAGMA journal_mode=PERSIST; PRAGMA cache_size=1;"
                           "CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);"
                           "INSERT INTO t (text) VALUES ('forged'); BEGIN;"
                           "UPDATE t SET text = 'other'; PRAGMA cache_spill=1;",
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    ASSERT_EQ(sqlite3_db_cacheflush(handle), SQLITE_OK);
    journal = bytes_of(plain.string() + "-journal");
    sqlite3_close(handle);
  }
  ASSERT_GT(journal.size(), 4096U);
  const std::string before = bytes_of(path_);
  store(path_.string() + "-journal", journal);
  EXPECT_EQ(refusal(), ErrorCode::kCorruption);
  EXPECT_EQ(bytes_of(path_), before);
}

TEST_F(PageVfsTest, ADatabaseThatIsCutIsRefused) {
  write(path_, vfs_.name(), 3000);
  const std::string good = bytes_of(path_);
  for (const size_t cut : {size_t{1}, size_t{31}, size_t{32}, size_t{100}, size_t{4095}}) {
    store(path_, good.substr(0, good.size() - cut));
    EXPECT_EQ(refusal(), ErrorCode::kCorruption) << cut;
  }
}

TEST_F(PageVfsTest, EveryBitOfEveryPageAndOfTheHeaderCounts) {
  write(path_, vfs_.name(), 200);
  const std::string good = bytes_of(path_);
  const std::string all = read();
  std::mt19937 random(41);
  for (size_t n = 0; n < 300; ++n) {
    std::string bad = good;
    const size_t place = n < 100 ? n : random() % bad.size();
    bad[place] ^= static_cast<char>(1 << random() % 8);
    remove_beside();
    store(path_, bad);
    EXPECT_EQ(refusal(), ErrorCode::kCorruption) << "byte " << place;
  }
  store(path_, good);
  EXPECT_EQ(read(), all);
}

TEST_F(PageVfsTest, PagesThatChangedPlacesAreRefused) {
  write(path_, vfs_.name(), 3000);
  const std::string good = bytes_of(path_);
  const size_t pages = good.size() / 4096;
  ASSERT_GT(pages, 6U);
  for (size_t n = 1; n + 1 < pages; ++n) {
    std::string bad = good;
    bad.replace(n * 4096, 4096, good, (n + 1) * 4096, 4096);
    store(path_, bad);
    EXPECT_EQ(refusal(), ErrorCode::kCorruption) << n;
  }
}

TEST_F(PageVfsTest, ALogIsWhatWasCommittedUpToSomePlace) {
  write(path_, vfs_.name(), 400);
  const auto left_over = left_over_log(2000, "late");
  const std::string& database = left_over.first;
  const std::string& log = left_over.second;
  constexpr size_t kFrame = 24 + 4096;
  const size_t frames = (log.size() - 32) / kFrame;
  ASSERT_GT(frames, 4U);
  remove_beside();
  store(path_, database);
  const std::string before = read();
  store(path_.string() + "-wal", log);
  const std::string after = read();
  ASSERT_NE(before, after);
  std::mt19937 random(43);
  int ended = 0;
  const auto expect_one_of_both = [&](const std::string& bad, const std::string& what) {
    remove_beside();
    store(path_, database);
    store(path_.string() + "-wal", bad);
    try {
      const std::string all = read();
      EXPECT_TRUE(all == before || all == after) << what;
      ended += all == before;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << what;
    }
  };
  for (int n = 0; n < 100; ++n) {
    std::string bad = log;
    const size_t place = random() % bad.size();
    bad[place] ^= static_cast<char>(1 << random() % 8);
    expect_one_of_both(bad, "byte " + std::to_string(place));
  }
  for (size_t n = 0; n + 1 < frames; ++n) {
    std::string bad = log;
    bad.replace(32 + n * kFrame, 4, log, 32 + (n + 1) * kFrame, 4);  // numbers of pages
    expect_one_of_both(bad, "the page number of frame " + std::to_string(n));
    bad = log;
    bad.replace(32 + n * kFrame + 24, 4096, log, 32 + (n + 1) * kFrame + 24, 4096);
    expect_one_of_both(bad, "the page of frame " + std::to_string(n));
  }
  EXPECT_GT(ended, 50);
}

}  // namespace
}  // namespace msa::storage
