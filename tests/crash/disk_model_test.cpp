#include "tests/crash/disk_model.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

#include "tests/crash/power_sweep.h"

namespace msa::crash {
namespace {

using Kind = DiskEvent::Kind;

class DiskModelTest : public testing::Test {
 protected:
  DiskModelTest() : folder_(folder_in_memory()) {}
  ~DiskModelTest() override { std::filesystem::remove_all(folder_); }

  void create(int file, const std::string& path) {
    disk_.apply({.kind = Kind::kCreate, .file = file, .path = path});
  }
  void write(int file, uint64_t offset, const std::string& bytes) {
    disk_.apply({.kind = Kind::kWrite, .file = file, .offset = offset, .bytes = bytes});
  }
  void sync(int file) { disk_.apply({.kind = Kind::kSync, .file = file}); }
  void fail_sync(int file) { disk_.apply({.kind = Kind::kFailedSync, .file = file}); }
  void sync_folder(const std::string& path) {
    disk_.apply({.kind = Kind::kSyncFolder, .path = path});
  }
  void rename(const std::string& from, const std::string& to) {
    disk_.apply({.kind = Kind::kRename, .path = from, .to = to});
  }

  /// "name=bytes" of all files, by name.
  std::string lose(const Loss& loss, uint64_t seed = 0) {
    std::mt19937_64 random(seed);
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    disk_.after_power_loss(loss, random).write_to(folder_);
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      all.insert(entry.path().lexically_relative(folder_).string() + "=" +
                 std::string(std::istreambuf_iterator<char>(file), {}));
    }
    std::string text;
    for (const std::string& line : all) text += (text.empty() ? "" : " ") + line;
    return text;
  }

  /// All that can be left.
  std::set<std::string> all_losses() {
    std::set<std::string> all;
    for (uint64_t seed = 0; seed < 600; ++seed) {
      std::mt19937_64 random(seed);
      all.insert(lose(draw_loss(2, random), seed));
    }
    return all;
  }

  DiskModel disk_;

 private:
  std::filesystem::path folder_;
};

TEST_F(DiskModelTest, AFileNeedsTheSyncOfItsBytesAndThatOfItsFolder) {
  create(0, "a");
  write(0, 0, "xy");
  EXPECT_EQ(lose({}), "");
  sync(0);
  EXPECT_EQ(lose({}), "") << "its name is not durable";
  sync_folder("");
  EXPECT_EQ(lose({}), "a=xy");
  write(0, 2, "z");
  EXPECT_EQ(lose({}), "a=xy");
  EXPECT_EQ(lose({.kept_bytes = 1, .kept_names = 1}), "a=xyz");
  create(1, "b");
  sync_folder("");
  EXPECT_EQ(lose({}), "a=xy b=") << "the name without the bytes";
}

TEST_F(DiskModelTest, UnsyncedWritesAreLostInAnyOrder) {
  create(0, "a");
  sync_folder("");
  write(0, 0, "x");
  write(0, 1, "y");
  const auto losses = all_losses();
  for (const std::string& wanted :
       {std::string("a="), std::string("a=x"), std::string("a=xy"), std::string("a=\0y", 4)}) {
    EXPECT_TRUE(losses.contains(wanted)) << wanted;
  }
}

TEST_F(DiskModelTest, AWriteIsTornAtSectorsAndNothingElseChanges) {
  create(0, "a");
  write(0, 0, std::string(1500, 'o'));
  sync(0);
  sync_folder("");
  write(0, 100, std::string(1300, 'n'));
  std::set<std::string> seen;
  for (const std::string& state : all_losses()) {
    const std::string bytes = state.substr(2);
    ASSERT_EQ(bytes.size(), 1500U);
    EXPECT_EQ(bytes.substr(0, 100), std::string(100, 'o'));
    EXPECT_EQ(bytes.substr(1400), std::string(100, 'o'));
    std::string pieces;
    for (const size_t begin : {100, 512, 1024}) {
      const size_t end = begin == 100 ? 512 : (begin == 512 ? 1024 : 1400);
      EXPECT_EQ(bytes.substr(begin, end - begin), std::string(end - begin, bytes[begin]));
      pieces += bytes[begin];
    }
    seen.insert(pieces);
  }
  EXPECT_EQ(seen.size(), 8U) << "each piece by itself";
}

TEST_F(DiskModelTest, ARenameIsTheOldFileOrTheNewOne) {
  create(0, "a");
  write(0, 0, "old");
  sync(0);
  create(1, "b");
  write(1, 0, "new");
  sync(1);
  sync_folder("");
  rename("b", "a");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"a=old b=new", "a=new"}));
  sync_folder("");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"a=new"}));
}

TEST_F(DiskModelTest, AFileThatChangesItsFolderIsNeverWithoutAName) {
  disk_.apply({.kind = Kind::kCreateFolder, .path = "f"});
  disk_.apply({.kind = Kind::kCreateFolder, .path = "g"});
  create(0, "f/a");
  write(0, 0, "x");
  sync(0);
  sync_folder("");
  sync_folder("f");
  rename("f/a", "g/a");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"f/a=x", "g/a=x", "f/a=x g/a=x"}));
  sync_folder("g");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"g/a=x", "f/a=x g/a=x"}));
  sync_folder("f");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"g/a=x"}));
}

TEST_F(DiskModelTest, ARemovedFileMayComeBack) {
  create(0, "a");
  write(0, 0, "x");
  sync(0);
  sync_folder("");
  disk_.apply({.kind = Kind::kRemove, .path = "a"});
  create(1, "a");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"", "a=x", "a="}));
  sync_folder("");
  EXPECT_EQ(all_losses(), (std::set<std::string>{"a="}));
}

TEST_F(DiskModelTest, NoLaterSyncVouchesForWhatCameBeforeAFailedOne) {
  create(0, "a");
  sync_folder("");
  write(0, 0, "x");
  fail_sync(0);
  sync(0);
  EXPECT_TRUE(all_losses().contains("a="));
  EXPECT_TRUE(all_losses().contains("a=x"));
  write(0, 0, "y");
  sync(0);
  EXPECT_EQ(all_losses(), (std::set<std::string>{"a=y"})) << "written again";
}

}  // namespace
}  // namespace msa::crash
