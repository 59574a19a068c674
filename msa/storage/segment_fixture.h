#pragma once
// A segment of random bytes for tests.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "msa/storage/segment_file.h"

namespace msa::storage {

class SegmentFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              ("msa_segment_" + std::to_string(getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "000001.msa";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// A segment with one small tensor and one of `num_bytes`.
  void write(size_t num_bytes) {
    std::mt19937 random(kSeed);
    large_.resize(num_bytes);
    for (char& byte : large_) byte = static_cast<char>(random());
    written_ = write_segment(real_file_system(), path_,
                             {{"small", DataType::kU8, {5}, std::as_bytes(std::span(small_))},
                              {"large",
                               DataType::kU8,
                               {static_cast<int64_t>(num_bytes)},
                               std::as_bytes(std::span(large_))}},
                             {{"format", "test"}});
    ASSERT_EQ(written_.num_bytes, std::filesystem::file_size(path_));
  }

  std::unique_ptr<SegmentFile> open() const {
    return SegmentFile::open(files_, path_, written_.num_bytes, written_.digest);
  }

  std::vector<uint64_t> damaged() const {
    std::vector<uint64_t> offsets;
    for (const SegmentDamage& damage :
         find_segment_damage(real_file_system(), path_, written_.num_bytes, written_.digest)) {
      offsets.push_back(damage.offset);
    }
    return offsets;
  }

  void flip(uint64_t offset, unsigned bit) const {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ (1 << bit)));
  }

  static constexpr uint32_t kSeed = 5;
  mutable FilePool files_{real_file_system(), 4};
  std::filesystem::path folder_;
  std::filesystem::path path_;
  const std::string small_ = "abcde";
  std::string large_;
  WrittenSegment written_;
};

}  // namespace msa::storage
