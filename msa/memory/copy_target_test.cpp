// What a backup may be written over: leavings of an interrupted copy, earlier states of the same
// bank, and nothing else.

#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/copy_bank.h"
#include "msa/storage/encrypted_files.h"

namespace msa::memory {
namespace {

using storage::EncryptedFiles;

class CopyTargetTest : public BankTest {
 protected:
  CopyTargetTest() { remove_others(); }
  ~CopyTargetTest() override { remove_others(); }

  std::filesystem::path backup() const { return folder().string() + ".backup"; }
  std::filesystem::path other() const { return folder().string() + ".other"; }

  static void put(BankWriter& writer, const std::vector<std::string>& names) {
    const RandomBatch batch =
        BankOracle::join(BankOracle::make(kShape, names, writer.next_passage_id()));
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
  }
  std::unique_ptr<EncryptedFiles> encrypted(const std::filesystem::path& bank, int key) const {
    return EncryptedFiles::create(real_file_system(), bank,
                                  std::vector<std::byte>(32, static_cast<std::byte>(key)));
  }
  BankCopy back_up() const { return back_up_bank(real_file_system(), folder(), backup()); }
  static void expect_whole(const std::filesystem::path& bank) {
    EXPECT_TRUE(verify_bank(real_file_system(), bank).empty());
  }
  static void expect_refused(const std::string& text, const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "not refused: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kMismatch) << error.what();
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }

 private:
  void remove_others() const {
    std::filesystem::remove_all(backup());
    std::filesystem::remove_all(other());
  }
};

TEST_F(CopyTargetTest, WhatACopyThatHadJustBegunLeftIsItsPlace) {
  put(*open_writer(), {"a"});
  std::filesystem::create_directories(backup() / "segments");
  std::filesystem::create_directories(backup() / "tmp");
  std::ofstream(backup() / "LOCK") << "1";
  EXPECT_EQ(back_up().copied_segments, 1);
  expect_whole(backup());
}

TEST_F(CopyTargetTest, ASegmentThatIsNoMoreIsNoSegmentOfAnotherBank) {
  const auto writer = open_writer();
  for (const char* name : {"a", "b", "c"}) put(*writer, {name});
  back_up();
  writer->forget(std::vector<std::string>{"c"});  // and with it the last segment
  EXPECT_EQ(back_up().copied_segments, 0);
  expect_whole(backup());
  EXPECT_EQ(Bank::open(real_file_system(), backup())->stats().segments, 2);
}

TEST_F(CopyTargetTest, ABankThatWentAnotherWayFromTheSameStateDoesNotTakeTheOthersPlace) {
  put(*open_writer(), {"a"});
  std::filesystem::copy(folder(), other(), std::filesystem::copy_options::recursive);
  put(*open_writer(), {"d"});
  back_up();
  std::filesystem::remove_all(folder());
  std::filesystem::rename(other(), folder());
  put(*open_writer(), {"e", "f"});
  expect_refused("has another segment 000002.msa", [&] { back_up(); });
  expect_whole(backup());
  EXPECT_TRUE(Bank::open(real_file_system(), backup())->find("d"));
}

TEST_F(CopyTargetTest, AnEncryptedPlaceIsForACopyOfItsKeyAlone) {
  {
    const auto own = encrypted(folder(), 1);
    put(*BankWriter::open(*own, folder(), facts()), {"secret"});
    // The key file alone, as a copy leaves it that ends early; then the whole.
    std::filesystem::create_directory(backup());
    std::filesystem::copy(folder() / EncryptedFiles::kFile, backup() / EncryptedFiles::kFile);
    EXPECT_EQ(back_up_bank(*own, folder(), backup()).copied_segments, 1);
  }
  std::filesystem::rename(folder(), other());
  put(*open_writer(), {"plain"});
  expect_refused("is not encrypted as", [&] { back_up(); });

  // And the other way round: what is encrypted does not go where a bank lies open.
  std::filesystem::remove_all(backup());
  back_up();
  const auto own =
      EncryptedFiles::open(real_file_system(), other(), std::vector<std::byte>(32, std::byte{1}));
  expect_refused("is not encrypted as", [&] { back_up_bank(*own, other(), backup()); });
  expect_whole(backup());
}

}  // namespace
}  // namespace msa::memory
