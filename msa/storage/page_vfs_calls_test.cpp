// The shim's files without SQLite above them: calls that it does not make of a database of ours.

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "msa/storage/page_vfs.h"

namespace msa::storage {
namespace {

namespace fs = std::filesystem;

constexpr int kPage = kEncryptedPageBytes;
constexpr int kMake = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

/// An open file, or what opening it gave.
class OpenFile {
 public:
  OpenFile(const PageVfs& vfs, const fs::path& path, int flags)
      : name_(sqlite3_create_filename(path.c_str(), "", "", 0, nullptr)) {
    sqlite3_vfs* found = sqlite3_vfs_find(vfs.name());
    room_.resize(static_cast<size_t>(found->szOsFile) / sizeof(std::max_align_t) + 1);
    result_ = found->xOpen(found, name_, file(), flags, nullptr);
  }
  ~OpenFile() {
    if (file()->pMethods != nullptr) file()->pMethods->xClose(file());
    sqlite3_free_filename(name_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int result() const { return result_; }
  bool is_open() { return file()->pMethods != nullptr; }

  int write(const std::string& bytes, sqlite3_int64 offset) {
    return file()->pMethods->xWrite(file(), bytes.data(), static_cast<int>(bytes.size()), offset);
  }
  int read(size_t count, sqlite3_int64 offset) {
    bytes_.assign(count, 'x');
    return file()->pMethods->xRead(file(), bytes_.data(), static_cast<int>(count), offset);
  }
  int truncate(sqlite3_int64 size) { return file()->pMethods->xTruncate(file(), size); }
  /// What was read last.
  const std::string& bytes() const { return bytes_; }

  /// The file below: what is written there is not sealed.
  int write_plain(const std::string& bytes, sqlite3_int64 offset) {
    sqlite3_file* real = nullptr;
    file()->pMethods->xFileControl(file(), kRealFileControl, static_cast<void*>(&real));
    return real->pMethods->xWrite(real, bytes.data(), static_cast<int>(bytes.size()), offset);
  }

 private:
  sqlite3_file* file() { return reinterpret_cast<sqlite3_file*>(room_.data()); }

  sqlite3_filename name_;
  std::vector<std::max_align_t> room_;
  std::string bytes_;
  int result_ = SQLITE_ERROR;
};

class PageVfsCallsTest : public testing::Test {
 protected:
  PageVfsCallsTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PageVfsCallsTest() override { fs::remove_all(folder_); }

  /// A page whose last bytes are the shim's to use.
  static std::string page(char c) {
    return std::string(kPage - kReservedPageBytes, c) + std::string(kReservedPageBytes, '\0');
  }

  fs::path folder_ =
      fs::path(testing::TempDir()) / ("msa_page_vfs_calls_" + std::to_string(getpid()));
  fs::path path_ = folder_ / "x";
  const PageVfs vfs_{CipherKey{std::byte{3}}};
};

TEST_F(PageVfsCallsTest, ADatabaseIsWrittenInPagesAndReadWithinThem) {
  OpenFile file(vfs_, path_, kMake | SQLITE_OPEN_MAIN_DB);
  ASSERT_EQ(file.result(), SQLITE_OK);
  EXPECT_EQ(file.write(page('a'), 0), SQLITE_OK);
  EXPECT_EQ(file.write(page('c'), 2 * kPage), SQLITE_OK);
  EXPECT_EQ(file.read(50, 2 * kPage + 100), SQLITE_OK);
  EXPECT_EQ(file.bytes(), std::string(50, 'c'));
  EXPECT_EQ(file.read(kPage, kPage), SQLITE_OK);
  EXPECT_EQ(file.bytes(), std::string(kPage, '\0')) << "between two, never written";
  EXPECT_EQ(file.read(16, 0), SQLITE_OK);
  EXPECT_EQ(file.bytes(), std::string(16, 'a')) << "the header stays readable";

  EXPECT_EQ(file.write(std::string(kPage, 'x'), kPage), SQLITE_IOERR_WRITE) << "the shim's bytes";
  EXPECT_EQ(file.write(page('x'), 100), SQLITE_IOERR_WRITE) << "across pages";
  EXPECT_EQ(file.write("x", 0), SQLITE_IOERR_WRITE);
  EXPECT_EQ(file.read(100, kPage - 50), SQLITE_IOERR_DATA) << "across pages";
  EXPECT_EQ(file.read(kPage, 3 * kPage), SQLITE_IOERR_SHORT_READ) << "behind the end";
  ASSERT_EQ(file.truncate(2 * kPage + 100), SQLITE_OK);
  EXPECT_EQ(file.read(kPage, 2 * kPage), SQLITE_IOERR_DATA) << "a page without its end";
}

TEST_F(PageVfsCallsTest, ALogIsWrittenInFramesAndReadInTheirParts) {
  OpenFile file(vfs_, path_, kMake | SQLITE_OPEN_WAL);
  ASSERT_EQ(file.result(), SQLITE_OK);
  const std::string head = "header__" + std::string("\0\0\x10\0", 4) + std::string(20, 'h');
  const std::string frame(24, 'f');
  const sqlite3_int64 second = 32 + 24 + kPage;
  ASSERT_EQ(file.write(head, 0), SQLITE_OK);
  ASSERT_EQ(file.write(frame, 32), SQLITE_OK);
  ASSERT_EQ(file.write(page('a'), 32 + 24), SQLITE_OK);
  EXPECT_EQ(file.read(32, 0), SQLITE_OK);
  EXPECT_EQ(file.bytes(), head);
  EXPECT_EQ(file.read(8, 24), SQLITE_OK) << "its check sums";
  EXPECT_EQ(file.read(24, 32), SQLITE_OK);
  EXPECT_EQ(file.bytes(), frame);
  EXPECT_EQ(file.read(8, 32 + 16), SQLITE_OK) << "the frame's check sums";
  EXPECT_EQ(file.read(kPage, 32 + 24), SQLITE_OK);
  EXPECT_EQ(file.bytes(), page('a'));
  EXPECT_EQ(file.read(24 + kPage, 32), SQLITE_OK);
  EXPECT_EQ(file.bytes(), frame + page('a'));

  for (const auto& [count, offset] : {std::pair{16, 0},
                                      {8, 16},
                                      {4, 24},
                                      {24, 0},
                                      {32, 32},
                                      {8, 32},
                                      {4, 32 + 16},
                                      {100, 32 + 24},
                                      {kPage, 32}}) {
    EXPECT_EQ(file.read(static_cast<size_t>(count), offset), SQLITE_IOERR_DATA)
        << count << " bytes at " << offset;
  }
  EXPECT_EQ(file.read(24, second), SQLITE_IOERR_SHORT_READ) << "behind the end";
  EXPECT_EQ(file.write(page('b'), second + 24), SQLITE_IOERR_WRITE) << "without its header";
  EXPECT_EQ(file.write(page('b'), 32), SQLITE_IOERR_WRITE) << "in the place of a header";
  EXPECT_EQ(file.write(head.substr(1), 0), SQLITE_IOERR_WRITE);
  EXPECT_EQ(file.write(frame, 32 + 24), SQLITE_IOERR_WRITE);
  ASSERT_EQ(file.write_plain("x", 32), SQLITE_OK);  // another page number
  EXPECT_EQ(file.read(kPage, 32 + 24), SQLITE_IOERR_DATA);
  EXPECT_EQ(file.read(24 + kPage, 32), SQLITE_OK);
  EXPECT_EQ(file.bytes(), std::string(24 + kPage, '\0')) << "the log ends there";
}

TEST_F(PageVfsCallsTest, AJournalHoldsSealedPagesAmidWhatIsShorter) {
  OpenFile file(vfs_, path_, kMake | SQLITE_OPEN_MAIN_JOURNAL);
  ASSERT_EQ(file.result(), SQLITE_OK);
  EXPECT_EQ(file.write("1234", 512), SQLITE_OK);
  EXPECT_EQ(file.write(page('a'), 516), SQLITE_OK);
  EXPECT_EQ(file.read(4, 512), SQLITE_OK);
  EXPECT_EQ(file.bytes(), "1234");
  EXPECT_EQ(file.read(kPage, 516), SQLITE_OK);
  EXPECT_EQ(file.bytes(), page('a'));
  EXPECT_EQ(file.write(std::string(kPage + 1, 'x'), 0), SQLITE_IOERR_WRITE);
  EXPECT_EQ(file.read(kPage, 10000), SQLITE_IOERR_SHORT_READ);
  ASSERT_EQ(file.write_plain("x", 600), SQLITE_OK);
  EXPECT_EQ(file.read(kPage, 516), SQLITE_IOERR_DATA);
}

TEST_F(PageVfsCallsTest, WhatIsNotADatabasesOwnIsNotOpened) {
  for (const auto& [flags, result] :
       {std::pair{kMake | SQLITE_OPEN_TEMP_DB, SQLITE_CANTOPEN},
        {kMake | SQLITE_OPEN_TRANSIENT_DB, SQLITE_CANTOPEN},
        {SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_JOURNAL, SQLITE_IOERR_DATA},
        {SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB, SQLITE_CANTOPEN}}) {  // not there
    OpenFile file(vfs_, path_, flags);
    EXPECT_EQ(file.result() & 0xff, result & 0xff) << flags;
    EXPECT_FALSE(file.is_open()) << flags;
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

}  // namespace
}  // namespace msa::storage
