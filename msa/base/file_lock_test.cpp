#include "msa/base/file_lock.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "msa/base/error.h"
#include "msa/base/file_system.h"

namespace msa {
namespace {

class FileLockTest : public testing::Test {
 protected:
  FileLockTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~FileLockTest() override { std::filesystem::remove_all(folder_); }

  static void expect_refused(const std::filesystem::path& path, ErrorCode code,
                             const std::string& what) {
    try {
      FileLock::acquire(path);
      ADD_FAILURE() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_TRUE(std::string(error.what()).starts_with(what)) << error.what();
    }
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("msa_file_lock_" + std::to_string(getpid()));
  const std::filesystem::path path_ = folder_ / "LOCK";
};

TEST_F(FileLockTest, TheHolderIsNamedUntilItIsGone) {
  auto lock = FileLock::acquire(path_);
  const std::string pid = std::to_string(getpid());
  EXPECT_EQ(read_file(real_file_system(), path_, 100), pid);
  expect_refused(path_, ErrorCode::kLocked,
                 folder_.string() + " is being written by process " + pid);
  std::filesystem::resize_file(path_, 0);  // held by one who has not yet said who it is
  expect_refused(path_, ErrorCode::kLocked,
                 folder_.string() + " is being written by process unknown");
  lock.reset();
  EXPECT_NO_THROW(FileLock::acquire(path_));
}

TEST_F(FileLockTest, AFileThatCannotBeMadeIsNamed) {
  expect_refused(folder_ / "absent" / "LOCK", ErrorCode::kIo,
                 "cannot open " + (folder_ / "absent" / "LOCK").string());
  expect_refused(folder_, ErrorCode::kIo, "cannot open " + folder_.string());
}

}  // namespace
}  // namespace msa
