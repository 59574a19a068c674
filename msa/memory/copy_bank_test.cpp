#include "msa/memory/copy_bank.h"

#include <omp.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/base/losing_file_system.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/file_damage.h"

namespace msa::memory {
namespace {

class CopyBankTest : public BankTest {
 protected:
  CopyBankTest() { remove_others(); }
  ~CopyBankTest() override { remove_others(); }

  std::filesystem::path backup() const { return folder().string() + ".backup"; }
  std::filesystem::path restored() const { return folder().string() + ".restored"; }

  void put(BankWriter& writer, const std::vector<std::string>& names) {
    const auto documents = BankOracle::make(kShape, names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    oracle_.put(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
  }
  void forget(BankWriter& writer, const std::vector<std::string>& names) {
    writer.forget(names);
    for (const std::string& name : names) oracle_.erase(name);
  }
  /// Three segments.
  void write_bank() {
    const auto writer = open_writer();
    for (const char* name : {"a", "b", "c"}) {
      put(*writer, {name + std::string("1"), name + std::string("2")});
    }
  }

  BankCopy back_up(FileSystem& files = real_file_system()) const {
    return back_up_bank(files, folder(), backup());
  }
  BankCopy restore(FileSystem& files = real_file_system()) const {
    return restore_bank(files, backup(), restored());
  }
  static void expect_whole(const std::filesystem::path& bank, const BankOracle& oracle) {
    const auto problems = verify_bank(real_file_system(), bank);
    EXPECT_TRUE(problems.empty()) << problems.front().file << ": " << problems.front().what;
    oracle.expect_equal(*Bank::open(real_file_system(), bank), bank.string() + ".fresh");
  }
  static int64_t num_files(const std::filesystem::path& bank, const std::string& part) {
    return static_cast<int64_t>(real_file_system().list(bank / part).size());
  }
  static void expect_refused(ErrorCode code, const std::string& text,
                             const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "not refused: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }

  BankOracle oracle_;

 private:
  void remove_others() const {
    for (const char* end : {".backup", ".restored", ".other"}) {
      std::filesystem::remove_all(folder().string() + end);
    }
  }
};

TEST_F(CopyBankTest, ABackupIsABankAndIsRestoredByCopyingItBack) {
  write_bank();
  const BankCopy copy = back_up();
  EXPECT_EQ(copy.documents, 6);
  EXPECT_EQ(copy.segments, 3);
  EXPECT_EQ(copy.copied_segments, 3);
  EXPECT_EQ(copy.bytes, copy.copied_bytes);
  expect_whole(backup(), oracle_);
  EXPECT_EQ(num_files(backup(), "tmp"), 0);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(backup())) {
    const auto open_to_others =
        std::filesystem::perms::group_all | std::filesystem::perms::others_all;
    EXPECT_EQ(entry.status().permissions() & open_to_others, std::filesystem::perms::none)
        << entry.path();
  }

  std::filesystem::remove_all(folder());
  restore();
  expect_whole(restored(), oracle_);
  std::filesystem::rename(restored(), folder());
  EXPECT_FALSE(std::filesystem::exists(folder() / Bank::kBackupFile));
  // Life goes on, and so do backups in the same place.
  put(*open_writer(), {"d1"});
  EXPECT_EQ(back_up().copied_segments, 1);
  expect_whole(backup(), oracle_);
}

TEST_F(CopyBankTest, ABackupIntoABackupCopiesWhatHasChanged) {
  write_bank();
  back_up();
  EXPECT_EQ(back_up().copied_segments, 0);
  const auto writer = open_writer();  // and it stays
  put(*writer, {"d1", "a1"});
  BankCopy copy = back_up();
  EXPECT_EQ(copy.copied_segments, 1);
  EXPECT_EQ(copy.segments, 4);
  expect_whole(backup(), oracle_);
  forget(*writer, {"b1", "b2"});  // a whole segment
  copy = back_up();
  EXPECT_EQ(copy.copied_segments, 0);
  EXPECT_EQ(copy.removed_files, 1);
  expect_whole(backup(), oracle_);
  writer->compact();
  back_up();
  EXPECT_EQ(num_files(backup(), "segments"), writer->compact().segments + 1);
  expect_whole(backup(), oracle_);
}

TEST_F(CopyBankTest, AnEmptyBankIsCopiedToo) {
  open_writer();
  EXPECT_EQ(back_up().documents, 0);
  restore();
  EXPECT_EQ(Bank::open(real_file_system(), restored())->stats().documents, 0);
  EXPECT_TRUE(verify_bank(real_file_system(), restored()).empty());
}

TEST_F(CopyBankTest, ReadersOfABackupKeepWhatTheyReadWhileItIsReplaced) {
  write_bank();
  back_up();
  auto reader = Bank::open(real_file_system(), backup());
  const auto num_passages = static_cast<int64_t>(reader->passages().size());
  const auto writer = open_writer();
  forget(*writer, {"a1"});
  writer->compact();
  EXPECT_EQ(back_up().removed_files, 0);
  EXPECT_FALSE(reader->is_current());
  EXPECT_EQ(reader->source()->num_documents(), num_passages);  // all segments are opened
  expect_whole(backup(), oracle_);
  reader.reset();
  EXPECT_EQ(back_up().removed_files, 3);
  expect_whole(backup(), oracle_);
}

TEST_F(CopyBankTest, ABankOnMediaThatCannotBeWrittenToIsCopied) {
  write_bank();
  for (const auto& part : {folder() / "segments", folder()}) {
    std::filesystem::permissions(
        part, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  }
  back_up();
  for (const auto& part : {folder(), folder() / "segments"}) {
    std::filesystem::permissions(part, std::filesystem::perms::owner_all);
  }
  expect_whole(backup(), oracle_);
}

TEST_F(CopyBankTest, WhatIsNoPlaceForABackupIsLeftAsItIs) {
  expect_refused(ErrorCode::kNotFound, "there is no bank", [&] { back_up(); });
  EXPECT_FALSE(std::filesystem::exists(backup()));
  write_bank();
  auto& files = real_file_system();
  expect_refused(ErrorCode::kInvalidArgument, "one is within the other",
                 [&] { back_up_bank(files, folder(), folder()); });
  expect_refused(ErrorCode::kInvalidArgument, "one is within the other",
                 [&] { back_up_bank(files, folder(), folder() / "tmp" / "b"); });
  expect_refused(ErrorCode::kInvalidArgument, "one is within the other",
                 [&] { back_up_bank(files, folder(), folder() / ".."); });
  std::filesystem::create_directory_symlink(folder(), backup());
  expect_refused(ErrorCode::kInvalidArgument, "one is within the other", [&] { back_up(); });
  std::filesystem::remove(backup());
  expect_refused(ErrorCode::kNotFound, "cannot create",
                 [&] { back_up_bank(files, folder(), backup() / "a" / "b"); });

  std::filesystem::create_directory(backup());
  std::ofstream(backup() / "letter.txt") << "x";
  expect_refused(ErrorCode::kInvalidFormat, "it holds letter.txt", [&] { back_up(); });
  EXPECT_EQ(files.list(backup()), std::vector<std::string>{"letter.txt"});
  std::filesystem::remove_all(backup());
  std::ofstream(backup()) << "x";
  expect_refused(ErrorCode::kInvalidFormat, "is no folder", [&] { back_up(); });
  std::filesystem::remove_all(backup());

  // A bank that lost its catalog.
  std::filesystem::copy(folder(), backup(), std::filesystem::copy_options::recursive);
  expect_refused(ErrorCode::kInvalidFormat, "a bank of its own", [&] { back_up(); });
  std::filesystem::remove(backup() / Catalog::kFile);
  expect_refused(ErrorCode::kInvalidFormat, "it holds segments", [&] { back_up(); });
  EXPECT_EQ(num_files(backup(), "segments"), 3);
  std::filesystem::remove_all(backup());
  EXPECT_TRUE(verify().empty());
}

TEST_F(CopyBankTest, ABackupThatAWriterHasOpenedIsOneNoMore) {
  write_bank();
  back_up();
  expect_refused(ErrorCode::kLocked, "is being written by process", [&] {
    const auto lock = FileLock::acquire(backup() / "LOCK");
    back_up();
  });
  BankOracle other = oracle_;
  {
    const auto writer = BankWriter::open(real_file_system(), backup(), facts());
    expect_refused(ErrorCode::kInvalidFormat, "a bank of its own", [&] { back_up(); });
    writer->forget(std::vector<std::string>{"a1"});
    other.erase("a1");
  }
  expect_refused(ErrorCode::kInvalidFormat, "a bank of its own", [&] { back_up(); });
  expect_whole(backup(), other);
}

TEST_F(CopyBankTest, ABackupOfAnotherBankOrALaterStateStays) {
  const std::filesystem::path other = folder().string() + ".other";
  {
    const auto writer = BankWriter::open(real_file_system(), other, facts());
    const RandomBatch batch = next_batch(*writer, 1, 9);
    writer->commit(batch.documents, batch.encoded);
  }
  write_bank();
  back_up_bank(real_file_system(), other, backup());
  expect_refused(ErrorCode::kMismatch, "is of another bank", [&] { back_up(); });
  std::filesystem::remove_all(backup());
  std::filesystem::remove_all(other);

  BankFacts changed = facts();
  changed.model_fingerprint = "another";
  BankWriter::open(real_file_system(), other, changed);
  back_up_bank(real_file_system(), other, backup());
  expect_refused(ErrorCode::kMismatch, "model_fingerprint", [&] { back_up(); });
  std::filesystem::remove_all(backup());
  std::filesystem::remove_all(other);

  // The bank goes back to an earlier state, and then on in another way.
  std::filesystem::copy(folder(), other, std::filesystem::copy_options::recursive);
  put(*open_writer(), {"d1"});
  back_up();
  const BankOracle later = oracle_;
  std::filesystem::remove_all(folder());
  std::filesystem::rename(other, folder());
  expect_refused(ErrorCode::kMismatch, "is of a later state", [&] { back_up(); });
  {
    const auto writer = open_writer();
    // The number of the segment is that of d1's, or the writer skipped it.
    for (int n = 0; n < 3; ++n) put(*writer, {"e" + std::to_string(n)});
  }
  expect_whole(backup(), later);
}

TEST_F(CopyBankTest, ARestorationLeavesWhatIsThere) {
  write_bank();
  back_up();
  restore();
  const BankOracle before = oracle_;
  put(*open_writer(), {"d1"});
  back_up();
  expect_refused(ErrorCode::kInvalidArgument, "is there", [&] { restore(); });
  expect_whole(restored(), before);
  expect_refused(ErrorCode::kInvalidArgument, "is there",
                 [&] { restore_bank(real_file_system(), backup(), folder()); });
}

TEST_F(CopyBankTest, TheRoomIsLookedForBeforeAnythingIsCopied) {
  class Small final : public ObservedFileSystem {
   public:
    using ObservedFileSystem::ObservedFileSystem;
    uint64_t free_bytes(const std::filesystem::path&) override { return room; }
    uint64_t room = 0;
  };
  write_bank();
  int num_appends = 0;
  Small files([&](std::string_view call, const auto&) { num_appends += call == "append"; });
  expect_refused(ErrorCode::kNoSpace, "bytes, 0 are free", [&] { back_up(files); });
  EXPECT_EQ(num_appends, 0);
  back_up();
  // The catalog alone is copied again.
  files.room = std::filesystem::file_size(catalog());
  EXPECT_EQ(back_up(files).copied_segments, 0);
  files.room -= 1;
  expect_refused(ErrorCode::kNoSpace, "are free", [&] { back_up(files); });
}

TEST_F(CopyBankTest, DamageIsNamedAndTheEarlierBackupStays) {
  write_bank();
  back_up();
  const BankOracle before = oracle_;
  const auto writer = open_writer();
  put(*writer, {"d1"});
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment(4)));
  for (int64_t offset = 0; offset < size; offset += 97) {
    const Keep keep(segment(4));
    flip(segment(4), offset, 3);
    expect_refused(ErrorCode::kCorruption, "documents: d1", [&] { back_up(); });
    expect_refused(ErrorCode::kCorruption, segment(4).string() + " at byte ", [&] { back_up(); });
    if (HasFailure()) return;
  }
  {
    const Keep keep(segment(4));
    std::filesystem::remove(segment(4));
    expect_refused(ErrorCode::kCorruption, "documents: d1", [&] { back_up(); });
  }
  expect_whole(backup(), before);
  EXPECT_EQ(num_files(backup(), "tmp"), 0);
  back_up();
  expect_whole(backup(), oracle_);

  // A segment of the backup whose tables are damaged is copied anew.
  flip(backup() / "segments" / "000002.msa", 20, 1);
  EXPECT_EQ(back_up().copied_segments, 1);
  expect_whole(backup(), oracle_);
}

TEST_F(CopyBankTest, ADamagedBackupIsNotRestored) {
  write_bank();
  back_up();
  const auto refuse_each = [&](const std::filesystem::path& path, int64_t step) {
    const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
    int64_t found = 0;
    for (int64_t offset = step / 3; offset < size; offset += step) {
      const Keep keep(path);
      flip(path, offset, offset % 8);
      if (verify_bank(real_file_system(), backup()).empty()) continue;  // no byte that is read
      ++found;
      EXPECT_THROW(restore(), Error) << path << " at byte " << offset;
      EXPECT_FALSE(std::filesystem::exists(restored() / Catalog::kFile));
      if (HasFailure()) return;
    }
    EXPECT_GE(found, 10) << path;
  };
  refuse_each(backup() / "segments" / "000003.msa", 101);
  refuse_each(backup() / Catalog::kFile, 331);
  restore();
  expect_whole(restored(), oracle_);
}

/// Puts the folders of a test into memory, where there is such a place: syncs cost nothing there.
class InMemory {
 protected:
  InMemory() {
    if (std::filesystem::is_directory("/dev/shm")) setenv("TEST_TMPDIR", "/dev/shm/", 1);
  }
  ~InMemory() { unsetenv("TEST_TMPDIR"); }
};

/// What fails: a call, after which the copy is as before or as after, and the next one succeeds.
class CopyFaultsTest : private InMemory, public CopyBankTest {
 protected:
  struct Case {
    const char* name;
    std::function<void()> prepare;
    std::function<void(FileSystem&)> copy;
    std::filesystem::path target;
    BankOracle before;  // empty: no bank
    bool has_before = false;
  };

  std::vector<Case> cases() {
    omp_set_num_threads(1);  // small files: threads would wait for each other
    write_bank();
    back_up();
    const BankOracle before = oracle_;
    const std::filesystem::path old = folder().string() + ".other";
    std::filesystem::copy(backup(), old, std::filesystem::copy_options::recursive);
    {
      const auto writer = open_writer();
      put(*writer, {"d1", "a1"});
      forget(*writer, {"b1", "b2"});
    }
    const auto remove = [this] {
      std::filesystem::remove_all(backup());
      std::filesystem::remove_all(restored());
    };
    const auto back = [this](FileSystem& files) { back_up(files); };
    return {{"first backup", remove, back, backup(), {}, false},
            {"next backup",
             [this, old, remove] {
               remove();
               std::filesystem::copy(old, backup(), std::filesystem::copy_options::recursive);
             },
             back, backup(), before, true},
            {"restoration",
             [this, remove] {
               remove();
               back_up();
             },
             [this](FileSystem& files) { restore(files); },
             restored(),
             {},
             false}};
  }

  /// Returns whether the copy was made.
  bool run(const Case& one, FileSystem& files, const std::function<void()>& afterwards) {
    bool is_done = false;
    try {
      one.copy(files);
      is_done = true;
    } catch (const LosingFileSystem::PowerLoss&) {
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kIo || error.code() == ErrorCode::kNoSpace)
          << error.what();
    }
    afterwards();
    bool is_after = false;
    if (std::filesystem::exists(one.target / Catalog::kFile)) {
      EXPECT_TRUE(verify_bank(real_file_system(), one.target).empty());
      const auto bank = Bank::open(real_file_system(), one.target);
      is_after = oracle_.is_in(*bank);
      EXPECT_TRUE(is_after || (one.has_before && one.before.is_in(*bank)));
    } else {
      EXPECT_FALSE(one.has_before);
    }
    EXPECT_TRUE(is_after || !is_done);
    EXPECT_TRUE(verify().empty());
    if (one.target == backup() || !is_after) one.copy(real_file_system());
    EXPECT_TRUE(verify_bank(real_file_system(), one.target).empty());
    EXPECT_TRUE(oracle_.is_in(*Bank::open(real_file_system(), one.target)));
    EXPECT_EQ(num_files(one.target, "segments"), 3);
    EXPECT_EQ(num_files(one.target, "tmp"), 0);
    return is_done;
  }
};

TEST_F(CopyFaultsTest, PowerLossAtAnyCallLeavesTheCopyAsBeforeOrAsAfter) {
  using Lost = LosingFileSystem::Lost;
  for (const Case& one : cases()) {
    for (int64_t good_calls = 0;; ++good_calls) {
      bool is_done = false;
      for (const Lost lost : {Lost::kNothing, Lost::kBytes, Lost::kSome}) {
        SCOPED_TRACE(std::string(one.name) + " after " + std::to_string(good_calls) +
                     " calls, loss " + std::to_string(static_cast<int>(lost)));
        one.prepare();
        LosingFileSystem files(good_calls);
        is_done = run(one, files, [&] { files.lose(lost, static_cast<uint64_t>(good_calls)); });
        if (HasFailure()) return;
      }
      if (is_done) break;
      ASSERT_LT(good_calls, 1000);
    }
  }
}

TEST_F(CopyFaultsTest, AFailureOfAnyCallLeavesTheCopyAsBeforeOrAsAfter) {
  for (const Case& one : cases()) {
    for (const bool is_full : {false, true}) {  // the disk, from then on; else one call fails
      for (int64_t good_calls = 0;; ++good_calls) {
        SCOPED_TRACE(std::string(one.name) + " after " + std::to_string(good_calls) + " calls");
        one.prepare();
        int64_t left = good_calls;
        bool has_failed = false;
        ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
          const bool takes_none =
              call == "open" || call == "read" || call == "list" || call == "remove";
          if ((is_full && takes_none) || left-- > 0 || (left < -1 && !is_full)) return;
          has_failed = true;
          throw Error(is_full ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot (test)");
        });
        run(one, files, [] {});
        if (HasFailure()) return;
        if (!has_failed) break;
        ASSERT_LT(good_calls, 1000);
      }
    }
  }
}

}  // namespace
}  // namespace msa::memory
