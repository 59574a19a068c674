#include "msa/storage/segment_file.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "msa/base/descriptor_limit.h"
#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"

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

TEST_F(SegmentFileTest, GivesBackAnyRangeOfAnySize) {
  const uint64_t block = kDigestBlockBytes;
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, block - 400, block, block + 1, 3 * block}) {
    write(size);
    const auto segment = open();
    EXPECT_EQ(segment->metadata().at("format"), "test");
    EXPECT_TRUE(damaged().empty());
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

/// Reads as planned, checks, and gives what was asked for.
std::string read_planned(const SegmentFile& segment, uint64_t first, uint64_t count) {
  const SegmentRead read = segment.plan_read("large", first, count);
  EXPECT_LE(read.first, read.wanted);
  EXPECT_LE(read.wanted + count, read.end);
  EXPECT_LT(read.size(), count + 2 * kDigestBlockBytes);
  std::string bytes(read.size(), 'x');
  read.file->read_at(read.first, std::as_writable_bytes(std::span(bytes)));
  segment.check(read, std::as_bytes(std::span(bytes)));
  return bytes.substr(read.wanted - read.first, count);
}

TEST_F(SegmentFileTest, APlannedReadTakesWholeBlocksOnlyUntilTheyAreChecked) {
  constexpr uint64_t kBlock = kDigestBlockBytes;
  write(5 * kBlock + 7);
  const auto segment = open();
  std::mt19937 random(kSeed);
  for (int round = 0; round < 60; ++round) {
    const uint64_t first = random() % large_.size();
    const uint64_t count = random() % (large_.size() - first + 1);
    const auto fresh = round % 2 == 0 ? open() : nullptr;
    ASSERT_EQ(read_planned(fresh ? *fresh : *segment, first, count), large_.substr(first, count))
        << first << " + " << count;
  }
  read_planned(*segment, 0, large_.size());
  const SegmentRead again = segment->plan_read("large", kBlock + 5, kBlock);
  EXPECT_EQ(again.first, again.wanted);
  EXPECT_EQ(again.size(), kBlock);
  EXPECT_THROW(segment->plan_read("large", large_.size(), 1), Error);
}

TEST_F(SegmentFileTest, APlannedReadOfADamagedBlockIsRefused) {
  constexpr uint64_t kBlock = kDigestBlockBytes;
  write(5 * kBlock);
  for (const uint64_t offset : {2 * kBlock, 2 * kBlock + 100, 3 * kBlock - 1}) {
    flip(offset, 3);
    const auto segment = open();
    for (const auto& [first, count] :
         {std::pair(2 * kBlock - 500, kBlock - 600), std::pair(2 * kBlock - 500, uint64_t{600}),
          std::pair(uint64_t{0}, 4 * kBlock)}) {
      try {
        read_planned(*segment, first, count);
        ADD_FAILURE() << first << " + " << count;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCorruption);
        EXPECT_NE(std::string(error.what()).find("at byte " + std::to_string(2 * kBlock)),
                  std::string::npos)
            << error.what();
      }
    }
    EXPECT_EQ(read_planned(*segment, 0, kBlock), large_.substr(0, kBlock));
    flip(offset, 3);
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
    EXPECT_EQ(damaged(), std::vector<uint64_t>{offset / block * block});
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
  EXPECT_TRUE(damaged().empty());
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
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{kDigestBlockBytes, 2 * kDigestBlockBytes}));
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
  EXPECT_THROW(SegmentFile::open(files_, path_, written_.num_bytes, recorded), Error);
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

TEST_F(SegmentFileTest, DamageOfAnyPartIsFoundWhereItIsAndHidesNoOther) {
  const uint64_t block = kDigestBlockBytes;
  write(5 * block);
  const uint64_t table = written_.num_bytes - 6 * sizeof(Digest);
  EXPECT_EQ(digested_bytes_of(written_.num_bytes), table);
  flip(3 * block + 9, 2);
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{3 * block}));
  flip(20, 1);  // the header
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{0, 3 * block}));
  flip(table + 4 * sizeof(Digest), 1);  // the digest of a good block
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{0, 3 * block, 4 * block, table}));
  flip(table + 4 * sizeof(Digest), 1);
  flip(20, 1);
  std::ofstream(path_, std::ios::binary | std::ios::app) << "more";
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{3 * block, written_.num_bytes}));
  std::filesystem::resize_file(path_, 2 * block);
  EXPECT_EQ(damaged(), (std::vector<uint64_t>{2 * block}));
}

TEST_F(SegmentFileTest, OnlySizesThatASegmentCanHaveHaveATable) {
  const uint64_t block = kDigestBlockBytes;
  for (const uint64_t digested : {uint64_t{8}, uint64_t{100}, block - 1, block, block + 1,
                                  7 * block, 7 * block + 8, uint64_t{1} << 50}) {
    const uint64_t blocks = (digested + block - 1) / block;
    EXPECT_EQ(digested_bytes_of(digested + blocks * sizeof(Digest)), digested);
  }
  // Between a file of one block and one of two.
  for (const uint64_t size : {uint64_t{0}, uint64_t{15}, uint64_t{23}, block + 17, block + 32}) {
    EXPECT_EQ(digested_bytes_of(size), std::nullopt) << size;
  }
}

TEST_F(SegmentFileTest, AFileThatChangesWhileItIsClosedIsCaught) {
  write(3 * kDigestBlockBytes);
  const auto segment = open();
  std::string out(large_.size(), 'x');
  const auto read = [&] { segment->read("large", 0, std::as_writable_bytes(std::span(out))); };
  const auto close = [&] {
    for (int n = 0; n < 4; ++n) {
      std::ofstream(folder_ / std::to_string(n)) << n;
      files_.open(folder_ / std::to_string(n));
    }
  };
  const auto code = [&] {
    try {
      read();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  read();
  EXPECT_EQ(out, large_);
  close();
  read();
  EXPECT_EQ(out, large_);
  close();
  flip(2 * kDigestBlockBytes, 0);
  EXPECT_EQ(code(), ErrorCode::kCorruption);
  close();
  std::filesystem::resize_file(path_, 2 * kDigestBlockBytes);
  EXPECT_EQ(code(), ErrorCode::kCorruption);
  close();
  std::filesystem::remove(path_);
  EXPECT_EQ(code(), ErrorCode::kNotFound);
  close();
  write(3 * kDigestBlockBytes);
  read();
  EXPECT_EQ(out, large_);
}

TEST_F(SegmentFileTest, NeedsOneDescriptorAndCallsALackOfThemNoDamage) {
  write(100);
  int next = 0;  // the descriptor that is free
  while (std::filesystem::exists("/proc/self/fd/" + std::to_string(next))) ++next;
  {
    const DescriptorLimit limit(static_cast<rlim_t>(next));
    try {
      open();
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo) << error.what();
    }
  }
  const DescriptorLimit limit(static_cast<rlim_t>(next + 1));
  EXPECT_NO_THROW(open());
}

TEST_F(SegmentFileTest, AReadThatTheSystemRefusesIsNoDamage) {
  write(100);
  int good_reads = 0;
  for (bool is_open = false; !is_open; ++good_reads) {
    ASSERT_LT(good_reads, 20);
    int left = good_reads;
    ObservedFileSystem failing([&](std::string_view call, const std::filesystem::path&) {
      if (call == "read" && left-- <= 0) throw Error(ErrorCode::kIo, "cannot read (test)");
    });
    FilePool pool(failing, 1);
    try {
      SegmentFile::open(pool, path_, written_.num_bytes, written_.digest);
      is_open = true;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kIo) << error.what();
    }
  }
  EXPECT_GT(good_reads, 3);
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
