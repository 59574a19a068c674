// Kills a process that ingests at random moments; the bank must hold what was acknowledged, whole.

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdio>
#include <filesystem>
#include <random>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "tests/crash/child.h"
#include "tests/crash/whole_batches.h"

namespace msa::memory {
namespace {

constexpr int kKillsOfABank = 20;  // then a new one is made: creation is killed as well

int wanted_kills() {
  const char* text = std::getenv("MSA_KILLS");
  return text == nullptr ? 200 : std::atoi(text);
}

uint32_t wanted_seed() {
  const char* text = std::getenv("MSA_SEED");
  return text == nullptr ? 20260101 : static_cast<uint32_t>(std::strtoul(text, nullptr, 10));
}

TEST(KilledIngest, EveryAcknowledgedDocumentIsThereAfterAnyKill) {
  const int kills = wanted_kills();
  std::mt19937 random(wanted_seed());
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("msa_kill_" + std::to_string(getpid()));
  int64_t checked = 0;  // passages that the bank held after the last kill
  int in_flight = 0;
  int before_creation = 0;
  int64_t batches = 0;
  uint32_t longest_us = 60'000;  // that a child lives; more on a machine too busy to start it
  for (int number = 0; number < kills; ++number) {
    SCOPED_TRACE("kill " + std::to_string(number) + ", seed " + std::to_string(wanted_seed()));
    if (number % kKillsOfABank == 0) {
      std::filesystem::remove_all(folder);
      checked = 0;
    }
    const Child child(folder, 0);
    usleep(1000 + random() % (number % 4 == 0 ? longest_us / 10 : longest_us));
    kill(child.pid(), SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(child.wait())) << "the child ended by itself";
    const int64_t acknowledged = std::max(checked, child.last_acknowledged());
    if (!std::filesystem::exists(folder / Catalog::kFile)) {
      ASSERT_EQ(acknowledged, 0);
      ++before_creation;
      longest_us = std::min(2 * longest_us, 2'000'000U);
      continue;
    }
    longest_us = std::max(longest_us - longest_us / 4, 60'000U);
    const auto problems = verify_bank(real_file_system(), folder);
    ASSERT_TRUE(problems.empty()) << problems.front().file << ": " << problems.front().what;
    const auto bank = Bank::open(real_file_system(), folder);
    const auto first_ids = expect_whole_batches(*bank, checked);
    ASSERT_FALSE(HasFailure());
    // All that was acknowledged, and beyond it at most the one batch that was in flight.
    const auto held = static_cast<int64_t>(bank->passages().size());
    ASSERT_GE(held, acknowledged);
    if (held > acknowledged) {
      ASSERT_EQ(first_ids.back(), acknowledged + 1);
      ++in_flight;
    }
    batches += static_cast<int64_t>(first_ids.size());
    checked = held;
  }
  EXPECT_TRUE(batches > 0 || kills < 50) << "no child lived long enough";
  std::printf(
      "%d kills, %d before the bank existed; %lld batches; %d times the one in flight was "
      "there\n",
      kills, before_creation, static_cast<long long>(batches), in_flight);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
