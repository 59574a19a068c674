// Many processes want to write to one bank at once: one at a time does, and nothing is lost.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>
#include <random>
#include <vector>

#include "msa/memory/bank.h"
#include "tests/crash/child.h"
#include "tests/crash/whole_batches.h"

namespace msa::memory {
namespace {

constexpr int kWriters = 12;
constexpr int kCommits = 6;

std::filesystem::path new_folder() {
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("msa_race_" + std::to_string(getpid()));
  std::filesystem::remove_all(folder);
  return folder;
}

std::vector<std::unique_ptr<Child>> start_writers(const std::filesystem::path& folder) {
  std::vector<std::unique_ptr<Child>> children;
  for (int n = 0; n < kWriters; ++n) children.push_back(std::make_unique<Child>(folder, kCommits));
  return children;
}

TEST(ManyWriters, TakeTurnsFromTheCreationOnAndLoseNothing) {
  const auto folder = new_folder();
  for (const auto& child : start_writers(folder)) EXPECT_EQ(child->wait(), 0);
  const auto bank = Bank::open(real_file_system(), folder);
  EXPECT_EQ(bank->stats().segments, kWriters * kCommits);
  EXPECT_EQ(expect_whole_batches(*bank, 0).size(), static_cast<size_t>(kWriters * kCommits));
  EXPECT_TRUE(verify_bank(real_file_system(), folder).empty());
  std::filesystem::remove_all(folder);
}

TEST(ManyWriters, GoOnWhenTheHoldersOfTheLockAreKilled) {
  const auto folder = new_folder();
  const uint32_t seed = 7;
  std::mt19937 random(seed);
  const auto children = start_writers(folder);
  for (int n = 0; n < kWriters / 2; ++n) {
    usleep(random() % 20'000);
    kill(children[n]->pid(), SIGKILL);
  }
  int64_t acknowledged = 0;
  for (int n = 0; n < kWriters; ++n) {
    const int status = children[n]->wait();
    if (n >= kWriters / 2) {
      EXPECT_EQ(status, 0) << "writer " << n;
    }
    acknowledged = std::max(acknowledged, children[n]->last_acknowledged());
  }
  const auto bank = Bank::open(real_file_system(), folder);
  const auto batches = expect_whole_batches(*bank, 0);
  EXPECT_GE(batches.size(), static_cast<size_t>(kWriters / 2 * kCommits)) << "seed " << seed;
  EXPECT_GE(static_cast<int64_t>(bank->passages().size()), acknowledged);
  EXPECT_TRUE(verify_bank(real_file_system(), folder).empty());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
