// SQLite's calls to the disk fail, one after the other, in all that is done with a bank: a clean
// error, nothing lost, and all goes on once they succeed again.

#include <gtest/gtest.h>
#include <omp.h>

#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/copy_bank.h"
#include "tests/crash/bank_check.h"
#include "tests/crash/changes.h"
#include "tests/crash/power_sweep.h"
#include "tests/crash/recording_file_system.h"
#include "tests/crash/recording_vfs.h"

namespace msa::crash {
namespace {

using memory::Bank;
using memory::BankWriter;

/// What fails, and how.
struct Failure {
  const char* name;
  const char* call;  // empty: any
  int error;
  bool is_lasting;  // all such calls after the n-th fail too
  bool writes_half = false;
};

constexpr Failure kFailures[] = {
    {"AFullDisk", "write", ENOSPC, true},
    {"AFullDiskAfterHalfOfAWrite", "write", ENOSPC, true, true},
    {"AFullDiskForAMoment", "write", ENOSPC, false, true},
    {"AWriteThatFails", "write", EIO, false},
    {"ASyncThatFails", "sync", EIO, false},
    {"NoMoreSync", "sync", EIO, true},
    {"NoMoreDescriptors", "open", EMFILE, true},
    {"ADescriptorLess", "open", EMFILE, false},
    {"ACallThatFails", "", EIO, false},
    {"ADiskThatIsGone", "", EIO, true},
};

class VfsFailure : public testing::TestWithParam<Failure> {
 protected:
  VfsFailure()
      : folder_(folder_in_memory()), recorder_(folder_), vfs_(recorder_), files_(recorder_) {
    omp_set_num_threads(1);
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    vfs_.writes_half = GetParam().writes_half;
  }
  ~VfsFailure() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path bank() const { return folder_ / kBankName; }
  std::unique_ptr<BankWriter> open_writer() {
    return BankWriter::open(files_, bank(), memory::crash_facts());
  }

  /// A bank with two commits.
  void make_bank() {
    std::filesystem::remove_all(bank());
    held_ = {};
    writer_ = open_writer();
    held_.is_there = true;
    for (int n = 0; n < 2; ++n) commit(), held_ = after_;
  }

  void commit() { commit(*writer_); }
  void commit(BankWriter& writer) {
    memory::RandomBatch batch =
        make_random_batch(memory::crash_facts().shape, {.first_id = writer.next_passage_id(),
                                                        .num_documents = 3,
                                                        .max_passages = 3,
                                                        .max_chunks = 40,
                                                        .seed = 7});
    after_ = held_;
    after_.is_there = true;
    add_batch(after_, batch, memory::crash_facts().shape.key_dim());
    writer.commit(std::move(batch.documents), batch.encoded);
  }

  /// As a process that is gone.
  void kill_writer() {
    recorder_.set_fault([](const DiskCall&) { return EIO; });
    writer_.reset();
    recorder_.set_fault({});
  }

  /// Lets the n-th call of the wanted kind fail, for n = 1, 2 ... until none did. `prepare` makes
  /// the bank, `act` works on it; afterwards it holds held_ or, if `act` succeeded, after_. Returns
  /// n.
  int fail_each(const std::function<void()>& prepare, const std::function<void()>& act) {
    const Failure& failure = GetParam();
    for (int n = 1;; ++n) {
      SCOPED_TRACE("call " + std::to_string(n));
      writer_.reset();
      prepare();
      after_ = held_;
      int left = n;
      bool has_failed = false;
      bool has_failed_sync = false;
      recorder_.set_fault([&](const DiskCall& call) {
        const bool counts =
            call.is_of_sqlite && (*failure.call == '\0' || call.name == failure.call);
        if (!counts || --left > 0 || (left < 0 && !failure.is_lasting)) return 0;
        has_failed = true;
        has_failed_sync |= call.name == "sync";
        return failure.error;
      });
      bool is_done = false;
      try {
        act();
        is_done = true;
      } catch (const Error& error) {
        const bool is_clean = error.code() == ErrorCode::kIo || error.code() == ErrorCode::kNoSpace;
        EXPECT_TRUE(is_clean) << error.what();
      }
      recorder_.set_fault({});
      expect_good(is_done, has_failed_sync && !undoes_);
      if (!has_failed) {
        EXPECT_TRUE(is_done);
        return n;
      }
      if (testing::Test::HasFailure()) return n;
    }
  }

 private:
  /// The bank can be read, the writer goes on, and so does a new one.
  void expect_good(bool is_done, bool may_be_there) {
    if (std::filesystem::exists(bank() / memory::Catalog::kFile)) {
      const auto problems = memory::verify_bank(files_, bank());
      EXPECT_TRUE(problems.empty()) << problems.front().file << ": " << problems.front().what;
      held_.is_there = true;  // at least its creation succeeded
      const BankContents now = contents_of(*Bank::open(files_, bank()));
      const bool is_right = now == (is_done ? after_ : held_) || (may_be_there && now == after_);
      EXPECT_TRUE(is_right) << now.documents.size() << " documents, " << held_.documents.size()
                            << " were acknowledged";
      held_ = now;
    }
    if (writer_ != nullptr) {
      commit();
      held_ = after_;
    }
    writer_.reset();
    EXPECT_EQ(check_bank(bank(), {held_}, true).problem, "");
  }

 protected:
  std::filesystem::path folder_;
  DiskRecorder recorder_;
  RecordingVfs vfs_;
  RecordingFileSystem files_;
  std::unique_ptr<BankWriter> writer_;
  BankContents held_;
  BankContents after_;
  bool undoes_ = false;  // `act` leaves nothing of what failed, also where that was a sync
};

TEST_P(VfsFailure, AtAnyCallOfACreation) {
  const int calls = fail_each(
      [&] {
        std::filesystem::remove_all(bank());
        held_ = {};
      },
      [&] {
        writer_ = open_writer();
        held_.is_there = true;
        after_ = held_;
        commit();
      });
  EXPECT_GE(calls, 3);
}

TEST_P(VfsFailure, AtAnyCallOfACommit) {
  const int calls = fail_each([&] { make_bank(); }, [&] { commit(); });
  const bool makes_such_calls = *GetParam().call != 'o';
  EXPECT_EQ(calls > 1, makes_such_calls);
}

TEST_P(VfsFailure, AtAnyCallOfAWriterThatEnds) {
  const int calls = fail_each([&] { make_bank(); }, [&] { writer_.reset(); });
  const bool makes_such_calls = *GetParam().call != 'o';
  EXPECT_EQ(calls > 1, makes_such_calls);
}

TEST_P(VfsFailure, AWriterThatEndsLeavesNothingOfACommitThatFailed) {
  undoes_ = *GetParam().call != '\0' || !GetParam().is_lasting;
  fail_each([&] { make_bank(); },
            [&] {
              const std::unique_ptr<BankWriter> writer = std::exchange(writer_, nullptr);
              commit(*writer);
            });
}

TEST_P(VfsFailure, AtAnyCallOfAWriterThatFollowsOneThatWasKilled) {
  const int calls = fail_each(
      [&] {
        make_bank();
        kill_writer();
      },
      [&] { writer_ = open_writer(); });
  EXPECT_GE(calls, 2);
}

TEST_P(VfsFailure, AtAnyCallOfAReader) {
  for (const bool has_log : {false, true}) {
    fail_each(
        [&] {
          make_bank();
          if (has_log) {
            kill_writer();
          } else {
            writer_.reset();
          }
        },
        [&] {
          const auto reader = Bank::open(files_, bank());
          EXPECT_EQ(contents_of(*reader), held_);
          // The reader takes part in the locks: it does not keep what a writer then changes.
          recorder_.set_fault({});
          writer_ = open_writer();
          commit();
          held_ = after_;
          writer_.reset();
          EXPECT_TRUE(std::filesystem::file_size(bank() / "catalog.db-wal") > 0);
        });
  }
}

TEST_P(VfsFailure, AtAnyCallOfAVerification) {
  fail_each(
      [&] {
        make_bank();
        kill_writer();
      },
      [&] {
        const auto problems = memory::verify_bank(files_, bank());
        if (!problems.empty()) throw Error(ErrorCode::kIo, problems.front().what);
      });
}

TEST_P(VfsFailure, AtAnyCallOfABackupOrARestoration) {
  const auto backup = folder_ / kBackupName;
  const auto restored = folder_ / "restored";
  BankContents earlier;
  BankContents copied;
  const auto expect_copy = [&](const std::filesystem::path& copy,
                               const std::vector<BankContents>& acceptable) {
    EXPECT_EQ(check_copy(copy, acceptable), "") << copy;
  };
  const auto back_up = [&] { memory::back_up_bank(files_, bank(), backup); };
  const auto prepare_backup = [&] {
    if (copied.is_there) expect_copy(backup, {earlier, copied});
    std::filesystem::remove_all(backup);
    make_bank();
    back_up();
    earlier = held_;
    commit();
    held_ = after_;
    copied = held_;
  };
  EXPECT_GE(fail_each(prepare_backup, back_up), 2);
  expect_copy(backup, {copied});
  EXPECT_GE(fail_each(
                [&] {
                  if (std::filesystem::exists(restored)) expect_copy(restored, {{}, copied});
                  std::filesystem::remove_all(restored);
                  std::filesystem::remove_all(bank());
                  held_ = {};
                },
                [&] { memory::restore_bank(files_, backup, restored); }),
            2);
  expect_copy(restored, {copied});
}

INSTANTIATE_TEST_SUITE_P(All, VfsFailure, testing::ValuesIn(kFailures),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace msa::crash
