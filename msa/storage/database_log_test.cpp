// A log that a writer left: it is made durable before another one builds on it, or the database
// does not open for writing.

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/storage/database.h"
#include "msa/storage/failing_vfs.h"

namespace msa::storage {
namespace {

using Mode = Database::Mode;

class DatabaseLogTest : public testing::Test {
 protected:
  /// A database as a process leaves it that dies: with a log of two rows.
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("msa_database_log_") +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    const auto original = folder_ / "original.db";
    path_ = folder_ / "left.db";
    const Database database(original, Mode::kCreate);
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT");
    database.checkpoint();
    database.execute("INSERT INTO t VALUES (1), (2)");
    std::filesystem::copy_file(original, path_);
    std::filesystem::copy_file(original.string() + "-wal", log());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string log() const { return path_.string() + "-wal"; }
  static std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static int64_t count(const Database& database) {
    auto rows = database.prepare("SELECT count(*) FROM t");
    rows.next();
    return rows.integer(0);
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST_F(DatabaseLogTest, IsWrittenAgainAndThenSyncedBeforeAnythingElse) {
  std::vector<std::string> calls;
  const FailingVfs vfs([&](const FailingVfs::Call& call) {
    const bool is_first = calls.empty() || calls.back() != call.name;
    if (call.path == log() && call.name != "read" && is_first) calls.emplace_back(call.name);
    return SQLITE_OK;
  });
  const Database database(path_, Mode::kWrite, vfs.name());
  EXPECT_EQ(calls, (std::vector<std::string>{"write", "sync"}));
  EXPECT_EQ(count(database), 2);
}

TEST_F(DatabaseLogTest, ThatCannotBeMadeDurableIsNothingToBuildOn) {
  struct Case {
    std::string call;
    int result;
    int system_error;
    ErrorCode wanted;
  };
  const std::string database_bytes = bytes_of(path_);
  const std::string log_bytes = bytes_of(log());
  for (const Case& one : {Case{"write", SQLITE_FULL, 0, ErrorCode::kNoSpace},
                          Case{"write", SQLITE_IOERR_WRITE, EDQUOT, ErrorCode::kNoSpace},
                          Case{"write", SQLITE_IOERR_WRITE, EFBIG, ErrorCode::kNoSpace},
                          Case{"write", SQLITE_IOERR_WRITE, EIO, ErrorCode::kIo},
                          Case{"sync", SQLITE_IOERR_FSYNC, EIO, ErrorCode::kIo}}) {
    SCOPED_TRACE(one.call + " " + std::to_string(one.result) + " " +
                 std::to_string(one.system_error));
    FailingVfs vfs([&](const FailingVfs::Call& call) {
      return call.path == log() && call.name == one.call ? one.result : SQLITE_OK;
    });
    vfs.system_error = one.system_error;
    try {
      const Database database(path_, Mode::kWrite, vfs.name());
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), one.wanted);
      EXPECT_NE(std::string(error.what()).find("cannot make its log durable"), std::string::npos)
          << error.what();
    }
    // Nor is it moved into the database, which a loss of power amid that would tear.
    EXPECT_EQ(bytes_of(path_), database_bytes);
    EXPECT_EQ(bytes_of(log()), log_bytes);
    EXPECT_EQ(count(Database(path_, Mode::kRead)), 2);
  }
  EXPECT_EQ(count(Database(path_, Mode::kWrite)), 2);
}

}  // namespace
}  // namespace msa::storage
