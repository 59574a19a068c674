// Kills a process that changes a bank at random moments; the bank must hold what was acknowledged,
// whole.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <random>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "tests/crash/changes.h"
#include "tests/crash/child.h"

namespace msa::memory {
namespace {

constexpr int kKillsOfABank = 20;  // then a new one is made: creation is killed as well

int wanted_kills() {
  const char* text = std::getenv("MSA_KILLS");
  return text == nullptr ? 1000 : std::atoi(text);
}

uint32_t wanted_seed() {
  const char* text = std::getenv("MSA_SEED");
  return text == nullptr ? 20260101 : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

TEST(KilledWriter, TheBankHoldsWhatWasAcknowledgedAfterAnyKill) {
  const int kills = wanted_kills();
  std::mt19937 random(wanted_seed());
  const auto plain =
      std::filesystem::path(testing::TempDir()) / ("msa_kill_" + std::to_string(getpid()));
  auto folder = plain;
  BankOracle oracle;  // what the bank held after the last kill
  int in_flight = 0;
  int before_creation = 0;
  std::map<std::string, int> changes;
  for (int number = 0; number < kills; ++number) {
    SCOPED_TRACE("kill " + std::to_string(number) + ", seed " + std::to_string(wanted_seed()));
    if (number % kKillsOfABank == 0) {
      std::filesystem::remove_all(folder);
      folder = plain;
      if (number / kKillsOfABank % 2 == 1) folder += ".encrypted";
      oracle = {};
    }
    const Child child(folder, random(), "n", 0);
    const bool is_early = number % 4 == 0;
    if (!is_early) child.await_output();
    usleep((is_early ? 1000 : 0) + random() % (number % 2 == 0 ? 6'000 : 60'000));
    kill(child.pid(), SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(child.wait())) << "the child ended by itself";
    const ChildLog log(child.output());
    for (const Change& change : log.done) {
      ++changes[change.operation];
      make(change, oracle);
    }
    if (!std::filesystem::exists(folder / Catalog::kFile)) {
      ASSERT_TRUE(log.done.empty());
      ++before_creation;
      continue;
    }
    const auto files = crash_files(folder);
    const auto problems = verify_bank(*files, folder);
    ASSERT_TRUE(problems.empty()) << problems.front().file << ": " << problems.front().what;
    // All that was acknowledged, and beyond it at most the one change that was in flight, whole.
    const auto bank = Bank::open(*files, folder);
    if (!oracle.is_in(*bank)) {
      ASSERT_TRUE(log.in_flight) << "what was acknowledged is not what is there";
      make(*log.in_flight, oracle);
      ASSERT_TRUE(oracle.is_in(*bank)) << log.in_flight->to_line();
      ++in_flight;
    }
    if (number % 10 == 9) oracle.expect_equal(*bank, folder.string() + ".fresh");
    ASSERT_FALSE(testing::Test::HasFailure());
  }
  EXPECT_TRUE(!changes.empty() || kills < 50) << "no child lived long enough";
  std::printf(
      "%d kills of seed %u, %d before the bank existed; %d times the one in flight was there;",
      kills, wanted_seed(), before_creation, in_flight);
  for (const auto& [operation, count] : changes) std::printf(" %s %d", operation.c_str(), count);
  std::printf("\n");
  if (kills >= 1000) {
    EXPECT_EQ(changes.size(), 4U) << "every kind of change has been acknowledged";
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
