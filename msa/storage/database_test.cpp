#include "msa/storage/database.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "msa/base/error.h"

namespace msa::storage {
namespace {

using Mode = Database::Mode;

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("msa_database_") +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "a b%c.db";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void create() const {
    const Database database(path_, Mode::kCreate);
    database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT NOT NULL, b BLOB) STRICT");
    insert(database, 1);
  }
  static void insert(const Database& database, int64_t n) {
    database.prepare("INSERT INTO t VALUES (?, ?, ?)")
        .bind(1, n)
        .bind(2, std::string_view("a\0b", 3))
        .bind(3, std::as_bytes(std::span("xyz", 3)))
        .run();
  }
  static int64_t count(const Database& database) {
    auto rows = database.prepare("SELECT count(*) FROM t");
    rows.next();
    return rows.integer(0);
  }
  static ErrorCode code_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::kInternal;
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST_F(DatabaseTest, KeepsNumbersTextsAndBytesWithTheirZeros) {
  create();
  const Database database(path_, Mode::kRead);
  auto rows = database.prepare("SELECT n, s, b FROM t");
  ASSERT_TRUE(rows.next());
  EXPECT_EQ(rows.integer(0), 1);
  EXPECT_EQ(rows.text(1), std::string("a\0b", 3));
  EXPECT_TRUE(std::ranges::equal(rows.bytes(2), std::as_bytes(std::span("xyz", 3))));
  EXPECT_FALSE(rows.next());
}

TEST_F(DatabaseTest, AStatementThatIsResetHoldsNothingAndRunsAgain) {
  create();
  const Database writer(path_, Mode::kWrite);
  insert(writer, 2);
  const Database database(path_, Mode::kRead);
  auto rows = database.prepare("SELECT n FROM t WHERE n >= ? ORDER BY n");
  rows.bind(1, 1);
  ASSERT_TRUE(rows.next());
  insert(writer, 3);
  EXPECT_EQ(count(database), 2);  // what its rows are read from stays
  rows.reset();
  EXPECT_EQ(count(database), 3);
  rows.bind(1, 3);
  ASSERT_TRUE(rows.next());
  EXPECT_EQ(rows.integer(0), 3);
  EXPECT_FALSE(rows.next());
}

TEST_F(DatabaseTest, ATransactionThatIsNotCommittedLeavesNothing) {
  create();
  const Database database(path_, Mode::kWrite);
  {
    const Transaction transaction(database);
    insert(database, 2);
    EXPECT_EQ(count(database), 2);
  }
  EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, AReaderSeesWhatIsCommittedAndCannotWrite) {
  create();
  const Database writer(path_, Mode::kWrite);
  const Database reader(path_, Mode::kRead);
  Transaction transaction(writer);
  insert(writer, 2);
  EXPECT_EQ(count(reader), 1);
  transaction.commit();
  EXPECT_EQ(count(reader), 2);
  EXPECT_THROW(insert(reader, 3), Error);
}

TEST_F(DatabaseTest, TellsApartWhatIsMissingDamagedOrRefused) {
  EXPECT_EQ(code_of([&] { const Database database(path_, Mode::kRead); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { const Database database(path_, Mode::kWrite); }), ErrorCode::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_)) << "looking must not create";
  std::ofstream(path_) << std::string(5000, 'x');
  EXPECT_EQ(code_of([&] {
              const Database database(path_, Mode::kRead);
              count(database);
            }),
            ErrorCode::kCorruption);
  std::filesystem::remove(path_);
  create();
  const Database database(path_, Mode::kWrite);
  EXPECT_EQ(code_of([&] { insert(database, 1); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { database.prepare("SELECT nothing FROM nowhere"); }),
            ErrorCode::kCorruption);
}

TEST_F(DatabaseTest, WhatHasNoValueIsEmpty) {
  create();
  const Database database(path_, Mode::kRead);
  auto row = database.prepare("SELECT NULL, NULL, 7");
  ASSERT_TRUE(row.next());
  EXPECT_EQ(row.text(0), "");
  EXPECT_TRUE(row.bytes(1).empty());
  auto rows = database.prepare("SELECT n FROM t");
  rows.run();  // to the end, whatever it gives
  EXPECT_TRUE(rows.next());
}

TEST_F(DatabaseTest, OneWhoWaitsForAnotherIsToldWhatWasInUse) {
  create();
  const Database database(path_, Mode::kWrite);
  insert(database, 2);
  const Database reader(path_, Mode::kRead);
  auto rows = reader.prepare("SELECT n FROM t ORDER BY n");
  ASSERT_TRUE(rows.next());  // a state that the log is needed for
  insert(database, 3);
  EXPECT_EQ(code_of([&] { database.checkpoint(); }), ErrorCode::kLocked);
  rows.reset();
  EXPECT_NO_THROW(database.checkpoint());
}

TEST_F(DatabaseTest, WhatAnotherOrItsOwnRowsKeepFromBeingChangedIsInUse) {
  create();
  const Database writer(path_, Mode::kWrite);
  insert(writer, 2);
  const Database other(path_, Mode::kWrite);
  const Transaction older(other, Transaction::Kind::kRead);
  EXPECT_EQ(count(other), 2);
  insert(writer, 3);
  EXPECT_EQ(code_of([&] { insert(other, 4); }), ErrorCode::kLocked) << "its state is an older one";
  auto rows = writer.prepare("SELECT n FROM t");
  ASSERT_TRUE(rows.next());
  EXPECT_EQ(code_of([&] { writer.execute("DROP TABLE t"); }), ErrorCode::kLocked);
  rows.reset();
  insert(writer, 4);
  EXPECT_EQ(count(writer), 4);
}

TEST_F(DatabaseTest, AWriterOrReaderThatCopiesIsOneAsBefore) {
  create();
  const auto copy = folder_ / "copy.db";
  const Database writer(path_, Mode::kWrite);
  const Database reader(path_, Mode::kRead);
  for (const Database* database : {&writer, &reader}) {
    std::filesystem::remove(copy);
    database->copy_to(copy);
    EXPECT_EQ(count(Database(copy, Mode::kRead)), count(writer));
    EXPECT_EQ(code_of([&] { database->copy_to(copy); }), ErrorCode::kIo) << "it is there";
    EXPECT_EQ(code_of([&] { database->copy_to(folder_ / "nowhere" / "copy.db"); }), ErrorCode::kIo);
    EXPECT_THROW(insert(reader, 7), Error);
    insert(writer, count(writer) + 1);
  }
  EXPECT_EQ(count(reader), 3);
}

TEST_F(DatabaseTest, NothingLongerThanSqliteTakesIsStored) {
  create();
  const Database database(path_, Mode::kWrite);
  EXPECT_EQ(
      code_of([&] { database.execute("INSERT INTO t VALUES (2, 'x', zeroblob(2000000000))"); }),
      ErrorCode::kLimit);
  EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, AFullDatabaseIsOneWithoutRoom) {
  create();
  const Database database(path_, Mode::kWrite);
  database.execute("PRAGMA max_page_count = 3");
  EXPECT_EQ(code_of([&] { database.execute("INSERT INTO t VALUES (2, 'x', zeroblob(100000))"); }),
            ErrorCode::kNoSpace);
  EXPECT_EQ(count(database), 1);
}

TEST_F(DatabaseTest, ADamagedPageIsToldApartFromAForeignFile) {
  create();
  {
    const Database database(path_, Mode::kWrite);
    Transaction transaction(database);
    for (int64_t n = 2; n < 2000; ++n) insert(database, n);
    transaction.commit();
    database.checkpoint();
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(4096, '\x7f');
  file.close();
  EXPECT_EQ(code_of([&] {
              const Database database(path_, Mode::kRead);
              database.prepare("SELECT sum(length(s)) FROM t").run();
            }),
            ErrorCode::kCorruption);
}

TEST_F(DatabaseTest, ACheckpointLeavesEverythingInTheOneFile) {
  create();
  const Database database(path_, Mode::kWrite);
  insert(database, 2);
  database.checkpoint();
  const auto copy = folder_ / "copy.db";
  std::filesystem::copy_file(path_, copy);
  EXPECT_EQ(count(Database(copy, Mode::kRead)), 2);
}

TEST_F(DatabaseTest, CanBeReadWhereNothingCanBeWritten) {
  create();
  ASSERT_EQ(chmod(path_.c_str(), 0444), 0);
  ASSERT_EQ(chmod(folder_.c_str(), 0555), 0);
  const pid_t child = fork();
  if (child == 0) {
    // The superuser may write anywhere.
    if (geteuid() == 0 && seteuid(65534) != 0) _exit(3);
    try {
      _exit(count(Database(path_, Mode::kRead)) == 1 ? 0 : 1);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      _exit(2);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  chmod(folder_.c_str(), 0755);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace msa::storage
