// What is wrong with a segment is found, and where.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <utility>

#include "msa/base/error.h"
#include "msa/storage/segment_fixture.h"

namespace msa::storage {
namespace {

class SegmentDamageTest : public SegmentFileTest {};

TEST_F(SegmentDamageTest, AFlippedBitIsFoundWhereItIsAndOtherBlocksStayReadable) {
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

TEST_F(SegmentDamageTest, EveryTruncationAndEveryFlippedByteOfASmallFileIsRefused) {
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

TEST_F(SegmentDamageTest, SwappedBlocksAndAnotherFileOfEqualSizeAreRefused) {
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

TEST_F(SegmentDamageTest, DamageOfAnyPartIsFoundWhereItIsAndHidesNoOther) {
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

TEST_F(SegmentDamageTest, OnlySizesThatASegmentCanHaveHaveATable) {
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

TEST_F(SegmentDamageTest, AFileThatChangesWhileItIsClosedIsCaught) {
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

TEST_F(SegmentDamageTest, AHeaderOfSeveralBlocksIsCheckedAsAWhole) {
  const std::map<std::string, std::string> metadata{{"long", std::string(600'000, 'm')}};
  written_ =
      write_segment(real_file_system(), path_,
                    {{"small", DataType::kU8, {5}, std::as_bytes(std::span(small_))}}, metadata);
  EXPECT_EQ(open()->metadata(), metadata);
  flip(kDigestBlockBytes + 5, 0);
  try {
    open();
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption);
    EXPECT_EQ(error.what(), path_.string() + " at byte 262144: the header's block is damaged");
  }
}

TEST_F(SegmentDamageTest, ATableThatTheHeaderKnowsNothingOfIsRefused) {
  // The size and all digests are right: only the header contradicts them.
  const std::string data(32, 'd');
  const auto open_with = [&](const std::vector<std::pair<std::string, int64_t>>& tensors) {
    std::vector<TensorToWrite> parts;
    for (const auto& [name, size] : tensors) {
      parts.push_back({name,
                       DataType::kU8,
                       {size},
                       std::as_bytes(std::span(data)).first(static_cast<size_t>(size))});
    }
    std::string bytes = safetensors_header(parts, {});
    for (const auto& [name, size] : tensors) bytes.append(static_cast<size_t>(size), 'd');
    const size_t digested = bytes.size() - sizeof(Digest);
    const Digest block = digest_of(std::as_bytes(std::span(bytes)).first(digested));
    std::memcpy(bytes.data() + digested, &block, sizeof block);
    std::ofstream(path_, std::ios::binary) << bytes;
    SegmentFile::open(files_, path_, bytes.size(), digest_of(std::as_bytes(std::span(&block, 1))));
  };
  EXPECT_NO_THROW(open_with({{"a", 8}, {kDigestTensor, 16}}));
  for (const auto& [tensors, what] :
       std::vector<std::pair<std::vector<std::pair<std::string, int64_t>>, std::string>>{
           {{{"a", 8}, {"b", 16}}, "there is no tensor"},
           {{{kDigestTensor, 16}, {"a", 8}}, "the digest table is out of place"},
           {{{"a", 8}, {kDigestTensor, 8}, {"b", 8}}, "the digest table is out of place"}}) {
    try {
      open_with(tensors);
      ADD_FAILURE() << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.what();
      EXPECT_TRUE(std::string(error.what())
                      .starts_with(path_.string() + " at byte 0: the header is damaged"))
          << error.what();
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  }
}

TEST_F(SegmentDamageTest, DamageIsLookedForWithoutADigestAndInOtherFiles) {
  write(3 * kDigestBlockBytes);
  const auto damage = [&](uint64_t num_bytes, const std::optional<Digest>& digest) {
    return find_segment_damage(real_file_system(), path_, num_bytes, digest);
  };
  EXPECT_TRUE(damage(written_.num_bytes, std::nullopt).empty());
  flip(kDigestBlockBytes, 3);
  ASSERT_EQ(damage(written_.num_bytes, std::nullopt).size(), 1U);
  EXPECT_EQ(damage(written_.num_bytes, std::nullopt)[0].offset, kDigestBlockBytes);
  // Another file that is longer: where it ends is all that can be said.
  std::ofstream(path_, std::ios::binary) << std::string(written_.num_bytes + 1, 'x');
  ASSERT_EQ(damaged(), std::vector<uint64_t>{written_.num_bytes});
  std::ofstream(path_, std::ios::binary) << std::string(15, 'x');
  const auto found = damage(15, written_.digest);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].what, path_.string() + ": no segment has 15 bytes");
  EXPECT_THROW(SegmentFile::open(files_, path_, 15, written_.digest), Error);
}

}  // namespace
}  // namespace msa::storage
