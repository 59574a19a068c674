#include "msa/base/mapped_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"

namespace msa {
namespace {

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ =
        std::filesystem::temp_directory_path() / ("mapped_file_test." + std::to_string(::getpid()));
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }

  static std::string text(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  std::filesystem::path path_;
};

TEST_F(MappedFileTest, HasTheBytesOfTheFileAlsoOnceItIsReplaced) {
  const std::string bytes(100'000, 'x');
  write(bytes);
  const auto mapped = MappedFile::open(real_file_system(), path_);
  EXPECT_EQ(text(*mapped), bytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(mapped->bytes().data()) % 16, 0U);
  write_file_atomically(real_file_system(), path_, std::as_bytes(std::span("other", 5)));
  EXPECT_EQ(text(*mapped), bytes);
  EXPECT_EQ(text(*MappedFile::open(real_file_system(), path_)), "other");
}

TEST_F(MappedFileTest, ReadsAFileWithoutADescriptorWhole) {
  const std::string bytes = "some bytes that are copied";
  write(bytes);
  int reads = 0;
  ObservedFileSystem observed([&](std::string_view call, const std::filesystem::path&) {
    reads += call == "read" ? 1 : 0;
  });
  const auto copied = MappedFile::open(observed, path_);
  EXPECT_EQ(text(*copied), bytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(copied->bytes().data()) % 16, 0U);
  EXPECT_EQ(reads, 1);
}

TEST_F(MappedFileTest, AnEmptyFileHasNoBytesAndAMissingOneIsNotFound) {
  write("");
  EXPECT_TRUE(MappedFile::open(real_file_system(), path_)->bytes().empty());
  std::filesystem::remove(path_);
  try {
    MappedFile::open(real_file_system(), path_);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  }
}

}  // namespace
}  // namespace msa
