#include "msa/base/file_pool.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/descriptor_limit.h"
#include "msa/base/error.h"

namespace msa {
namespace {

size_t num_descriptors() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    count += entry.path().empty() ? 0 : 1;
  }
  return count;
}

TEST(FilePool, KeepsTheFilesUsedLastOpenAndNoMore) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "msa_file_pool";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto path = [&](int n) { return folder / std::to_string(n); };
  for (int n = 0; n < 9; ++n) std::ofstream(path(n)) << n;
  const auto first_byte = [](const File& file) {
    char byte = 0;
    file.read_at(0, std::as_writable_bytes(std::span(&byte, 1)));
    return byte;
  };
  const size_t before = num_descriptors();
  FilePool pool(real_file_system(), 3);
  for (int n = 0; n < 9; ++n) EXPECT_EQ(first_byte(*pool.open(path(n)).file), '0' + n);
  EXPECT_EQ(num_descriptors(), before + 3);
  EXPECT_EQ(pool.open(path(8)).opening, 9U);
  EXPECT_EQ(pool.open(path(6)).opening, 7U) << "the file is open still";
  EXPECT_EQ(pool.open(path(0)).opening, 10U) << "it was closed and is opened anew";
  EXPECT_EQ(pool.open(path(6)).opening, 7U);
  EXPECT_EQ(pool.open(path(7)).opening, 11U) << "the one used longest ago had to go";

  // Who reads a file keeps it.
  const auto held = pool.open(path(5));
  for (int n = 0; n < 4; ++n) pool.open(path(n));
  EXPECT_EQ(first_byte(*held.file), '5');
  EXPECT_EQ(num_descriptors(), before + 4);
  EXPECT_THROW(pool.open(folder / "absent"), Error);
  std::filesystem::remove_all(folder);
}

TEST(FilePool, TakesAShareOfTheDescriptors) {
  for (const auto& [limit, share] : std::vector<std::pair<rlim_t, size_t>>{{20, 8}, {64, 16}}) {
    const DescriptorLimit few(limit);
    EXPECT_EQ(share_of_descriptors(), share);
  }
  EXPECT_LE(share_of_descriptors(), 256U);
}

}  // namespace
}  // namespace msa
