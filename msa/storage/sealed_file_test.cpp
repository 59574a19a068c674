#include "msa/storage/sealed_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"

namespace msa::storage {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kSeed = 31;
constexpr uint64_t kStoredUnit = kSealedUnitBytes + kTagBytes;
constexpr uint64_t kHeader = 32;

class SealedFileTest : public testing::Test {
 protected:
  SealedFileTest() { fs::remove(path_); }
  ~SealedFileTest() override { fs::remove(path_); }

  static std::vector<std::byte> random_bytes(size_t count) {
    std::mt19937 random(kSeed);
    std::vector<std::byte> bytes(count);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    return bytes;
  }
  void write(std::span<const std::byte> bytes, size_t piece) const {
    const auto file = seal_file(real_file_system().create(path_), key_);
    for (size_t n = 0; n < bytes.size(); n += piece) {
      file->append(bytes.subspan(n, std::min(piece, bytes.size() - n)));
    }
    file->sync();
    EXPECT_EQ(file->size(), bytes.size());
  }
  std::unique_ptr<File> open() const {
    return unseal_file(real_file_system().open_to_read(path_), key_);
  }
  std::vector<std::byte> read_all() const {
    const auto file = open();
    std::vector<std::byte> bytes(file->size());
    file->read_at(0, bytes);
    return bytes;
  }
  std::string stored() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void store(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  void expect_refused() const {
    try {
      read_all();
      ADD_FAILURE() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.what();
      EXPECT_NE(std::string(error.what()).find(path_.string()), std::string::npos);
    }
  }

  CipherKey key_{std::byte{5}};
  fs::path path_ = fs::path(testing::TempDir()) / "msa_sealed_file";
};

TEST_F(SealedFileTest, GivesBackWhatWasWrittenWhateverItsSizeAndPieces) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{16383}, size_t{16384}, size_t{16385},
                            size_t{32768}, size_t{100000}}) {
    const auto bytes = random_bytes(size);
    for (const size_t piece : {size_t{1000}, size_t{16384}, size_t{1000000}}) {
      write(bytes, piece);
      EXPECT_EQ(read_all(), bytes) << size << " in pieces of " << piece;
      const uint64_t units = (size + kSealedUnitBytes - 1) / kSealedUnitBytes;
      EXPECT_EQ(fs::file_size(path_), size == 0 ? 0 : kHeader + size + units * kTagBytes);
    }
  }
}

TEST_F(SealedFileTest, AnyPartCanBeRead) {
  const auto bytes = random_bytes(70000);
  write(bytes, 9999);
  const auto file = open();
  std::mt19937 random(kSeed);
  for (int n = 0; n < 300; ++n) {
    const size_t first = random() % bytes.size();
    std::vector<std::byte> part(random() % (bytes.size() - first + 1));
    file->read_at(first, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + static_cast<long>(first)));
  }
  std::vector<std::byte> beyond(2);
  EXPECT_THROW(file->read_at(69999, beyond), Error);
  EXPECT_THROW(file->read_at(UINT64_MAX, beyond), Error);
}

TEST_F(SealedFileTest, NothingBehindTheEndIsRead) {
  write(random_bytes(100), 100);
  const auto file = open();
  std::vector<std::byte> out(101);
  for (const auto& [offset, count] : {std::pair{0, 101}, {1, 100}, {101, 0}, {50, 51}}) {
    try {
      file->read_at(static_cast<uint64_t>(offset),
                    std::span(out).first(static_cast<size_t>(count)));
      ADD_FAILURE() << offset << " + " << count;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_EQ(error.what(),
                path_.string() + " at byte " + std::to_string(offset) + ": the file ends at 100");
    }
  }
}

TEST_F(SealedFileTest, TheSameBytesAreNeverStoredTheSameWay) {
  const auto bytes = random_bytes(100);
  write(bytes, 100);
  const std::string once = stored();
  write(bytes, 100);
  EXPECT_NE(stored().substr(kHeader), once.substr(kHeader));
}

TEST_F(SealedFileTest, ChangedMovedAndMissingUnitsAreRefused) {
  write(random_bytes(3 * kSealedUnitBytes + 100), 50000);
  const std::string good = stored();
  std::mt19937 random(kSeed);
  for (int n = 0; n < 200; ++n) {
    std::string bad = good;
    bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    store(bad);
    expect_refused();
  }
  const auto unit = [&](size_t n) { return good.substr(kHeader + n * kStoredUnit, kStoredUnit); };
  const std::string header = good.substr(0, kHeader);
  store(header + unit(1) + unit(0) + unit(2) + unit(3));  // exchanged
  expect_refused();
  for (size_t kept = 1; kept < 4; ++kept) {  // the end is gone, at a border of units too
    store(good.substr(0, kHeader + kept * kStoredUnit));
    expect_refused();
  }
  store(header + unit(0) + unit(1) + unit(3));  // one is gone
  expect_refused();
  store("n" + good.substr(1));  // another kind of file
  expect_refused();
  for (const size_t size : {size_t{1}, size_t{31}, size_t{32}, size_t{40}, size_t{48}}) {
    store(good.substr(0, size));
    expect_refused();
  }
  store(good);
  EXPECT_EQ(read_all().size(), 3 * kSealedUnitBytes + 100);
  key_[0] = std::byte{6};
  expect_refused();
}

TEST_F(SealedFileTest, UnitsOfAnotherFileOfTheKeyAreRefused) {
  write(random_bytes(2 * kSealedUnitBytes), 50000);
  const std::string one = stored();
  write(random_bytes(2 * kSealedUnitBytes), 50000);
  store(stored().substr(0, kHeader + kStoredUnit) + one.substr(kHeader + kStoredUnit));
  expect_refused();
}

TEST_F(SealedFileTest, AfterAWriteThatFailedNothingIsSealedAnyMore) {
  bool fails = false;
  ObservedFileSystem files([&](std::string_view call, const fs::path& path) {
    if (fails && call == "append") throw Error(ErrorCode::kNoSpace, path.string(), ": full");
  });
  const auto file = seal_file(files.create(path_), key_);
  const auto bytes = random_bytes(kSealedUnitBytes + 1);
  fails = true;
  EXPECT_THROW(file->append(bytes), Error);
  fails = false;
  EXPECT_THROW(file->append(bytes), Error);
  EXPECT_THROW(file->sync(), Error);
}

TEST_F(SealedFileTest, NothingFollowsItsEnd) {
  const auto file = seal_file(real_file_system().create(path_), key_);
  const auto bytes = random_bytes(10);
  file->append(bytes);
  file->sync();
  file->sync();
  EXPECT_THROW(file->append(bytes), Error);
}

}  // namespace
}  // namespace msa::storage
