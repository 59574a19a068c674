#include "msa/storage/segment_file.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "msa/base/error.h"

namespace msa::storage {
namespace {

class SegmentFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("msa_segment_") +
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
    return SegmentFile::open(real_file_system(), path_, written_.num_bytes, written_.digest);
  }

  void flip(uint64_t offset, unsigned bit) const {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ (1 << bit)));
  }

  static constexpr uint32_t kSeed = 5;
  std::filesystem::path folder_;
  std::filesystem::path path_;
  const std::string small_ = "abcde";
  std::string large_;
  WrittenSegment written_;
};

TEST_F(SegmentFileTest, GivesBackAnyRangeOfAnySize) {
  const uint64_t block = kDigestBlockBytes;
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, block - 400, block, block + 1, 3 * block}) {
    write(size);
    const auto segment = open();
    EXPECT_EQ(segment->metadata().at("format"), "test");
    EXPECT_TRUE(segment->damaged_blocks().empty());
    std::mt19937 random(kSeed);
    for (int round = 0; round < 40; ++round) {
      const auto fresh = open();  // nothing has been checked yet
      const uint64_t first = size == 0 ? 0 : random() % size;
      const uint64_t count = size == 0 ? 0 : random() % (size - first + 1);
      std::string out(count, 'x');
      fresh->read("large", first, std::as_writable_bytes(std::span(out)));
      ASSERT_EQ(out, large_.substr(first, count)) << size << ": " << first << " + " << count;
    }
    std::string out(5, 'x');
    segment->read("small", 0, std::as_writable_bytes(std::span(out)));
    EXPECT_EQ(out, small_);
    EXPECT_THROW(segment->read("small", 1, std::as_writable_bytes(std::span(out))), Error);
    EXPECT_THROW(segment->read("small", ~uint64_t{0}, std::as_writable_bytes(std::span(out))),
                 Error);
    EXPECT_THROW(segment->read("absent", 0, std::as_writable_bytes(std::span(out))), Error);
  }
}

TEST_F(SegmentFileTest, AFlippedBitIsFoundWhereItIsAndOtherBlocksStayReadable) {
  write(3 * kDigestBlockBytes);
  std::mt19937 random(kSeed);
  const uint64_t block = kDigestBlockBytes;
  for (int round = 0; round < 60; ++round) {
    const uint64_t offset = block + random() % (2 * block);  // past the header's block
    const auto bit = static_cast<unsigned>(random() % 8);
    flip(offset, bit);
    const auto segment = open();
    EXPECT_EQ(segment->damaged_blocks(), std::vector<uint64_t>{offset / block * block});
    const uint64_t first = segment->tensor("large").offset;
    std::string out(1, 'x');
    const auto read = [&](uint64_t at) {
      segment->read("large", at - first, std::as_writable_bytes(std::span(out)));
    };
    try {
      read(offset);
      ADD_FAILURE() << "byte " << offset << " was read, seed " << kSeed;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_NE(std::string(error.what()).find(std::to_string(offset / block * block)),
                std::string::npos)
          << error.what();
    }
    read(first);
    const uint64_t other = offset < 2 * block ? 2 * block + 7 : block + 7;
    read(other);
    EXPECT_EQ(out[0], large_[other - first]);
    flip(offset, bit);
  }
  EXPECT_TRUE(open()->damaged_blocks().empty());
}

TEST_F(SegmentFileTest, EveryTruncationAndEveryFlippedByteOfASmallFileIsRefused) {
  write(100);
  for (uint64_t offset = 0; offset < written_.num_bytes; ++offset) {
    flip(offset, offset % 8);
    EXPECT_THROW(open(), Error) << "byte " << offset;
    flip(offset, offset % 8);
  }
  EXPECT_NO_THROW(open());
  for (uint64_t size = written_.num_bytes; size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    EXPECT_THROW(open(), Error) << size << " bytes";
  }
}

TEST_F(SegmentFileTest, SwappedBlocksAndAnotherFileOfEqualSizeAreRefused) {
  write(3 * kDigestBlockBytes);
  std::string bytes(written_.num_bytes, '\0');
  std::ifstream(path_, std::ios::binary)
      .read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  std::string swapped = bytes;
  std::swap_ranges(swapped.begin() + kDigestBlockBytes, swapped.begin() + 2 * kDigestBlockBytes,
                   swapped.begin() + 2 * kDigestBlockBytes);
  std::ofstream(path_, std::ios::binary) << swapped;
  EXPECT_EQ(open()->damaged_blocks(),
            (std::vector<uint64_t>{kDigestBlockBytes, 2 * kDigestBlockBytes}));
  // A whole file, right in itself, but not the one that was recorded.
  const Digest recorded = written_.digest;
  large_[0] = static_cast<char>(large_[0] + 1);
  write_segment(real_file_system(), path_,
                {{"small", DataType::kU8, {5}, std::as_bytes(std::span(small_))},
                 {"large",
                  DataType::kU8,
                  {static_cast<int64_t>(large_.size())},
                  std::as_bytes(std::span(large_))}},
                {{"format", "test"}});
  EXPECT_THROW(SegmentFile::open(real_file_system(), path_, written_.num_bytes, recorded), Error);
}

TEST_F(SegmentFileTest, ManyThreadsReadAtOnce) {
  write(4 * kDigestBlockBytes);
  const auto segment = open();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t n = 0; n < 4; ++n) {
    threads.emplace_back([&, n] {
      std::mt19937 random(kSeed + n);
      for (int round = 0; round < 200; ++round) {
        const uint64_t first = random() % large_.size();
        std::string out(std::min<uint64_t>(random() % 100'000, large_.size() - first), 'x');
        segment->read("large", first, std::as_writable_bytes(std::span(out)));
        wrong += out != large_.substr(first, out.size());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(SegmentFileTest, IsAValidSafetensorsFile) {
  write(1000);
  const auto file = SafetensorsFile::open(real_file_system(), path_);
  std::string out(1000, 'x');
  file->read("large", std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, large_);
  EXPECT_EQ(file->tensor(kDigestTensor).shape, (std::vector<int64_t>{1, 16}));
}

}  // namespace
}  // namespace msa::storage
