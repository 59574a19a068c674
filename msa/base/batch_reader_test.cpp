#include "msa/base/batch_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"

namespace msa {
namespace {

constexpr size_t kFileBytes = 3'000'001;

/// Both ways to read: through a ring, where the system has one, and on threads.
class BatchReaderTest : public testing::TestWithParam<bool> {
 protected:
  BatchReaderTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::mt19937 random(1);
    for (int n = 0; n < 3; ++n) {
      std::string& bytes = contents_.emplace_back(kFileBytes, '\0');
      for (char& byte : bytes) byte = static_cast<char>(random());
      std::ofstream(path(n), std::ios::binary) << bytes;
    }
  }
  ~BatchReaderTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path path(int n) const { return folder_ / std::to_string(n); }

  /// Many parts of all three files, some of them empty and some up to the end.
  struct Parts {
    std::vector<std::unique_ptr<File>> files;
    std::vector<std::vector<std::byte>> room;
    std::vector<FileRead> reads;
    std::vector<int> file;

    Parts(FileSystem& system, const BatchReaderTest& test) {
      std::mt19937 random(2);
      for (int n = 0; n < 3; ++n) files.push_back(system.open_to_read(test.path(n)));
      for (int i = 0; i < 200; ++i) {
        const size_t offset = random() % kFileBytes;
        const size_t length = i % 20 == 0 ? 0
                              : i % 7 == 0
                                  ? kFileBytes - offset
                                  : std::min<size_t>(random() % 70'000, kFileBytes - offset);
        room.emplace_back(length, std::byte{0});
        file.push_back(i % 3);
        reads.push_back({.file = files[i % 3].get(), .offset = offset, .out = room.back()});
      }
    }
  };

  void expect_read(BatchReader& reader, FileSystem& system) const {
    Parts parts(system, *this);
    std::vector<std::atomic<int>> arrivals(parts.reads.size());
    reader.read(parts.reads, [&](size_t i) {
      ++arrivals[i];
      const auto* wanted = contents_[parts.file[i]].data() + parts.reads[i].offset;
      const auto got = parts.reads[i].out;
      if (!std::equal(got.begin(), got.end(), reinterpret_cast<const std::byte*>(wanted))) {
        ADD_FAILURE() << "part " << i << " is not what the file holds";
      }
    });
    for (const auto& count : arrivals) EXPECT_EQ(count, 1);
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / "msa_batch_reader";
  std::vector<std::string> contents_;
};

TEST_P(BatchReaderTest, EveryPartArrivesOnceAsTheFileHasIt) {
  BatchReader reader(GetParam());
  for (int turn = 0; turn < 3; ++turn) expect_read(reader, real_file_system());
  reader.read({}, [](size_t) { ADD_FAILURE(); });
}

TEST_P(BatchReaderTest, FilesThatAreNotTheSystemsAreReadTheirOwnWay) {
  BatchReader reader(GetParam());
  std::atomic<int> num_reads = 0;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
    num_reads += call == "read" ? 1 : 0;
  });
  expect_read(reader, files);
  EXPECT_EQ(num_reads, 200);
}

TEST_P(BatchReaderTest, AFileThatEndsBeforeIsDamagedAndTheReaderGoesOn) {
  BatchReader reader(GetParam());
  {
    Parts parts(real_file_system(), *this);
    parts.reads[77].offset = kFileBytes - 10;
    parts.room[77].resize(11);
    parts.reads[77].out = parts.room[77];
    try {
      reader.read(parts.reads, [](size_t i) { EXPECT_NE(i, 77U); });
      ADD_FAILURE() << "a part behind the end was read";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_NE(std::string(error.what()).find(path(77 % 3).string() + " ends at byte 3000001"),
                std::string::npos)
          << error.what();
    }
  }
  expect_read(reader, real_file_system());
}

TEST_P(BatchReaderTest, WhatTheCallerThrowsIsPassedOn) {
  BatchReader reader(GetParam());
  Parts parts(real_file_system(), *this);
  try {
    reader.read(parts.reads, [](size_t i) {
      if (i == 50) throw Error(ErrorCode::kLimit, "enough (test)");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
  }
  expect_read(reader, real_file_system());
}

INSTANTIATE_TEST_SUITE_P(Ways, BatchReaderTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Ring" : "Threads"; });

}  // namespace
}  // namespace msa
