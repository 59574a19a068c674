#include "msa/storage/segment_file.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "msa/base/descriptor_limit.h"
#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/storage/segment_fixture.h"

namespace msa::storage {
namespace {

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

TEST_F(SegmentFileTest, AReadThatTheSystemRefusesIsNoDamageAndOneThatEndsEarlyIs) {
  write(100);
  for (const ErrorCode code : {ErrorCode::kIo, ErrorCode::kCorruption}) {
    int good_reads = 0;
    for (bool is_open = false; !is_open; ++good_reads) {
      ASSERT_LT(good_reads, 20);
      int left = good_reads;
      ObservedFileSystem failing([&](std::string_view call, const std::filesystem::path&) {
        if (call == "read" && left-- <= 0) throw Error(code, "cannot read (test)");
      });
      FilePool pool(failing, 1);
      try {
        SegmentFile::open(pool, path_, written_.num_bytes, written_.digest);
        is_open = true;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), code) << error.what();
      }
    }
    EXPECT_GT(good_reads, 3);
  }
}

TEST_F(SegmentFileTest, ABlockMayEndWhereTheTableBegins) {
  write(250'000);
  write(250'000 + kDigestBlockBytes - *digested_bytes_of(written_.num_bytes));
  ASSERT_EQ(digested_bytes_of(written_.num_bytes), kDigestBlockBytes);
  EXPECT_EQ(written_.num_bytes, kDigestBlockBytes + sizeof(Digest));
  EXPECT_TRUE(damaged().empty());
  std::string out(large_.size(), 'x');
  open()->read("large", 0, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(out, large_);
}

TEST_F(SegmentFileTest, NothingIsReadForNothing) {
  write(1000);
  const auto segment = open();
  const SegmentRead read = segment->plan_read("large", 1000, 0);
  EXPECT_EQ(read.size(), 0U);
  EXPECT_NO_THROW(segment->check(read, {}));
  EXPECT_THROW(segment->plan_read("large", 1001, 0), Error);
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
