#include "msa/base/file_system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"

namespace msa {
namespace {

class FileSystemTest : public testing::Test {
 protected:
  FileSystemTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~FileSystemTest() override { std::filesystem::remove_all(folder_); }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / "msa_file_system";
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST_F(FileSystemTest, AFileThatIsMadeIsEmptyAndItsOwnersOnly) {
  const auto path = folder_ / "x";
  for (const mode_t before : {mode_t{0}, mode_t{0666}, mode_t{0640}}) {
    if (before != 0) {
      std::ofstream(path) << "of old";
      ASSERT_EQ(chmod(path.c_str(), before), 0);
    }
    EXPECT_EQ(real_file_system().create(path)->size(), 0U);
    struct stat status {};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
  }
}

TEST_F(FileSystemTest, ListsNamesByByteValue) {
  for (const char* name : {"b", "a", "B", ".c"}) std::ofstream(folder_ / name) << name;
  EXPECT_EQ(real_file_system().list(folder_), (std::vector<std::string>{".c", "B", "a", "b"}));
  EXPECT_THROW(real_file_system().list(folder_ / "absent"), Error);
  EXPECT_THROW(real_file_system().list(folder_ / "a"), Error);
}

TEST_F(FileSystemTest, AFolderIsRemovedOnlyWhenItIsEmpty) {
  const auto path = folder_ / "inner";
  real_file_system().create_directory(path);
  std::ofstream(path / "x") << "x";
  EXPECT_THROW(real_file_system().remove_directory(path), Error);
  real_file_system().remove(path / "x");
  real_file_system().remove_directory(path);
  EXPECT_FALSE(real_file_system().exists(path));
  EXPECT_THROW(real_file_system().remove_directory(path), Error);
}

TEST_F(FileSystemTest, AnAtomicWriteIsSyncedRenamedAndItsFolderSyncedInThisOrder) {
  std::vector<std::string> calls;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    calls.push_back(std::string(call) + " " + path.filename().string());
  });
  write_file_atomically(files, folder_ / "x", bytes_of("new"));
  EXPECT_EQ(calls, (std::vector<std::string>{"create x.tmp", "append x.tmp", "sync x.tmp",
                                             "rename x", "sync folder msa_file_system"}));
}

TEST_F(FileSystemTest, AnAtomicWriteThatFailsLeavesTheOldFileAndNothingBesideIt) {
  write_file_atomically(real_file_system(), folder_ / "x", bytes_of("old"));
  for (int good_calls = 0; good_calls < 4; ++good_calls) {
    int left = good_calls;
    ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
      if (call != "remove" && left-- == 0) throw Error(ErrorCode::kNoSpace, "no space (test)");
    });
    try {
      write_file_atomically(files, folder_ / "x", bytes_of("new"));
      ADD_FAILURE() << good_calls;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace) << error.what();
    }
    EXPECT_EQ(read_file(real_file_system(), folder_ / "x", 10), "old");
    EXPECT_EQ(real_file_system().list(folder_), std::vector<std::string>{"x"}) << good_calls;
  }
}

/// Throws an error of this code that names the path.
template <typename Call>
void expect_error(const Call& call, ErrorCode code, const std::string& what) {
  try {
    call();
    ADD_FAILURE() << "no error: " << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_TRUE(std::string(error.what()).starts_with(what)) << error.what();
  }
}

TEST_F(FileSystemTest, EveryCallThatTheSystemRefusesNamesWhatItWasFor) {
  FileSystem& files = real_file_system();
  const auto absent = folder_ / "absent";
  const auto file = folder_ / "x";
  std::ofstream(file) << "x";
  const std::string nowhere = absent.string();
  const auto below_file = file / "y";
  expect_error([&] { files.open_to_read(absent); }, ErrorCode::kNotFound, "cannot open " + nowhere);
  expect_error([&] { files.open_to_read(below_file); }, ErrorCode::kNotFound,
               "cannot open " + below_file.string());
  expect_error([&] { files.open_to_read(folder_); }, ErrorCode::kIo,
               "cannot open " + folder_.string());
  expect_error([&] { files.create(absent / "y"); }, ErrorCode::kNotFound,
               "cannot create " + nowhere);
  expect_error([&] { files.rename(absent, file); }, ErrorCode::kNotFound,
               "cannot rename " + nowhere);
  expect_error([&] { files.remove(absent); }, ErrorCode::kNotFound, "cannot remove " + nowhere);
  expect_error([&] { files.create_directory(absent / "y"); }, ErrorCode::kNotFound,
               "cannot create " + nowhere);
  EXPECT_NO_THROW(files.create_directory(folder_)) << "which is there";
  expect_error([&] { files.sync_directory(absent); }, ErrorCode::kNotFound,
               "cannot open " + nowhere);
  expect_error([&] { files.sync_directory("/proc/self"); }, ErrorCode::kIo,
               "cannot sync /proc/self");
  expect_error([&] { files.free_bytes(absent); }, ErrorCode::kNotFound, "cannot stat " + nowhere);
  EXPECT_GT(files.free_bytes(folder_), 0U);
}

TEST_F(FileSystemTest, AReadThatFailsOrEndsEarlyNamesTheFile) {
  std::string bytes(4, ' ');
  const auto out = std::as_writable_bytes(std::span(bytes));
  const auto memory = real_file_system().open_to_read("/proc/self/mem");
  expect_error([&] { memory->read_at(0, out); }, ErrorCode::kIo, "cannot read /proc/self/mem");
  std::ofstream(folder_ / "x") << "abc";
  const auto file = real_file_system().open_to_read(folder_ / "x");
  expect_error([&] { file->read_at(1, out); }, ErrorCode::kCorruption,
               (folder_ / "x").string() + " ends at byte 3, 2 more were expected");
}

TEST_F(FileSystemTest, AWriteOrSyncThatFailsNamesTheFile) {
  if (!std::filesystem::is_character_file("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const auto file = real_file_system().create("/dev/full");
  expect_error([&] { file->append(bytes_of("x")); }, ErrorCode::kNoSpace, "cannot write /dev/full");
  expect_error([&] { file->sync(); }, ErrorCode::kIo, "cannot sync /dev/full");
}

TEST_F(FileSystemTest, AFileThatIsTooLargeIsNotRead) {
  std::ofstream(folder_ / "x") << "abc";
  EXPECT_EQ(read_file(real_file_system(), folder_ / "x", 3), "abc");
  expect_error([&] { read_file(real_file_system(), folder_ / "x", 2); }, ErrorCode::kLimit,
               (folder_ / "x").string() + " holds 3 bytes, at most 2 are accepted");
}

TEST_F(FileSystemTest, AnAtomicWriteMayHaveANameWithoutAFolder) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_);
  write_file_atomically(real_file_system(), "x", bytes_of("new"));
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(real_file_system(), folder_ / "x", 10), "new");
}

}  // namespace
}  // namespace msa
