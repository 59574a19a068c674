// Backs a bank up again and again while another process changes it, and kills one or the other: a
// backup holds exactly one state that the bank had.

#include <gtest/gtest.h>
#include <omp.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/memory/bank.h"
#include "msa/memory/copy_bank.h"
#include "tests/crash/changes.h"
#include "tests/crash/child.h"

namespace msa::memory {
namespace {

constexpr int kBackupsOfATarget = 20;  // then a new one is begun
constexpr int kBackupsOfAWriter = 25;  // then it is killed, and another one goes on

int wanted_backups() {
  const char* text = std::getenv("MSA_BACKUPS");
  return text == nullptr ? 100 : std::atoi(text);
}

uint32_t wanted_seed() {
  const char* text = std::getenv("MSA_SEED");
  return text == nullptr ? 20260101 : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

/// The bank, its writer and what it holds.
class ChangingBank {
 public:
  ChangingBank(std::filesystem::path folder, uint32_t seed) : folder_(std::move(folder)) {
    start(seed);
  }
  ~ChangingBank() {
    if (writer_ != nullptr) stop();
  }
  ChangingBank(const ChangingBank&) = delete;
  ChangingBank& operator=(const ChangingBank&) = delete;

  /// Takes over what the writer has said since.
  void listen() {
    text_ += writer_->output_so_far();
    const ChildLog log(text_.substr(0, text_.rfind('\n') + 1));
    for (; num_heard_ < log.done.size(); ++num_heard_) changes_.push_back(log.done[num_heard_]);
    in_flight_ = log.in_flight;
  }

  void end() {
    stop();
    writer_.reset();
  }

  /// The writer is killed in what it does, and another one starts.
  void replace_writer(uint32_t seed) {
    stop();
    text_ += writer_->output();
    listen();
    const auto bank = Bank::open(real_file_system(), folder_);
    BankOracle held = state(num_changes());
    if (!held.is_in(*bank)) {
      ASSERT_TRUE(in_flight_);
      changes_.push_back(*in_flight_);
      ASSERT_TRUE(state(num_changes()).is_in(*bank));
    }
    start(seed);
  }

  int64_t num_changes() const { return static_cast<int64_t>(changes_.size()); }

  /// After the first of them, one that is in flight included.
  BankOracle state(int64_t num_changes) const {
    BankOracle oracle;
    for (size_t n = 0; n < static_cast<size_t>(num_changes); ++n) {
      make(n < changes_.size() ? changes_[n] : in_flight_.value(), oracle);
    }
    return oracle;
  }

  /// The state from the `first` on that a copy holds, which may have what is in flight; -1 if none.
  int64_t find(const Bank& copy, int64_t first) const {
    BankOracle oracle = state(first);
    for (int64_t n = first;; ++n) {
      if (oracle.is_in(copy)) return n;
      if (n == num_changes()) break;
      make(changes_[static_cast<size_t>(n)], oracle);
    }
    if (!in_flight_) return -1;
    make(*in_flight_, oracle);
    return oracle.is_in(copy) ? num_changes() + 1 : -1;
  }

 private:
  void start(uint32_t seed) {
    text_.clear();
    num_heard_ = 0;
    in_flight_.reset();
    writer_ = std::make_unique<Child>(folder_, seed, "n", 0);
    writer_->await_output();
  }
  void stop() const {
    kill(writer_->pid(), SIGKILL);
    EXPECT_TRUE(WIFSIGNALED(writer_->wait())) << "the writer ended by itself";
  }

  std::filesystem::path folder_;
  std::unique_ptr<Child> writer_;
  std::string text_;
  size_t num_heard_ = 0;
  std::vector<Change> changes_;  // acknowledged
  std::optional<Change> in_flight_;
};

/// Backs up in a process of its own, which is killed after so many microseconds; 0: it is not.
/// Returns whether it ended by itself, and well.
bool back_up(const std::filesystem::path& bank, const std::filesystem::path& target,
             useconds_t killed_after) {
  const pid_t pid = fork();
  if (pid == 0) {
    execl((build_folder() / "backup_child").c_str(), "backup_child", bank.c_str(), target.c_str(),
          nullptr);
    _exit(127);
  }
  if (killed_after > 0) {
    usleep(killed_after);
    kill(pid, SIGKILL);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "exit " << WEXITSTATUS(status);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Backup, OfAChangingBankIsOneOfItsStatesWhateverIsKilled) {
  omp_set_num_threads(1);
  const int backups = wanted_backups();
  std::mt19937 random(wanted_seed());
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("msa_backup_" + std::to_string(getpid()));
  const auto bank = folder / "bank";
  const auto target = folder / "backup";
  const auto restored = folder / "restored";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  ChangingBank changing(bank, random());
  int64_t held = -1;  // the state in the target; none
  std::unique_ptr<Bank> reader;
  useconds_t usual_us = 40'000;  // what a backup takes
  int finished = 0;
  int published = 0;  // by those that were killed
  for (int number = 0; number < backups; ++number) {
    SCOPED_TRACE("backup " + std::to_string(number) + ", seed " + std::to_string(wanted_seed()));
    if (number % kBackupsOfATarget == 0) {
      reader.reset();
      std::filesystem::remove_all(target);
      held = -1;
    }
    if (number % kBackupsOfAWriter == kBackupsOfAWriter - 1) changing.replace_writer(random());
    changing.listen();
    const int64_t before = changing.num_changes();
    const bool is_killed = number % 3 != 2;
    const auto start = std::chrono::steady_clock::now();
    const bool is_done = back_up(bank, target, is_killed ? 1 + random() % usual_us : 0);
    if (!is_killed) {
      const std::chrono::duration<double, std::micro> took =
          std::chrono::steady_clock::now() - start;
      usual_us = static_cast<useconds_t>(took.count()) + 1;
    }
    finished += is_done;
    usleep(2'000);  // until what was acknowledged has been said
    changing.listen();
    if (!std::filesystem::exists(target / Catalog::kFile)) {
      ASSERT_FALSE(is_done || held >= 0);
      continue;
    }
    const auto problems = verify_bank(real_file_system(), target);
    ASSERT_TRUE(problems.empty()) << problems.front().file << ": " << problems.front().what;
    auto copy = Bank::open(real_file_system(), target);
    const bool is_as_before = !is_done && held >= 0 && changing.state(held).is_in(*copy);
    if (!is_as_before) {
      held = changing.find(*copy, before);
      ASSERT_GE(held, 0) << "the backup is no state of the bank from " << before << " on";
      published += !is_done;
    }
    if (is_done && number % 10 == 2) {
      std::filesystem::remove_all(restored);
      restore_bank(real_file_system(), target, restored);
      changing.state(held).expect_equal(*Bank::open(real_file_system(), restored),
                                        folder / "fresh");
    }
    if (reader != nullptr) {
      EXPECT_EQ(reader->source()->num_documents(), static_cast<int64_t>(reader->passages().size()));
    }
    if (number % 4 == 0) reader = std::move(copy);  // and keeps its files
    ASSERT_FALSE(testing::Test::HasFailure());
  }
  changing.end();
  EXPECT_TRUE(verify_bank(real_file_system(), bank).empty());
  EXPECT_GE(finished, backups / 3);
  std::printf(
      "%d backups of seed %u, %d finished, %d killed once they were published, %lld changes\n",
      backups, wanted_seed(), finished, published, static_cast<long long>(changing.num_changes()));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
