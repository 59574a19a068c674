// Many processes want to write to one bank at once: one at a time does, and nothing is lost.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "msa/memory/bank.h"
#include "tests/crash/changes.h"
#include "tests/crash/child.h"

namespace msa::memory {
namespace {

constexpr int kWriters = 12;
constexpr int kChanges = 8;
constexpr uint32_t kSeed = 7;

std::filesystem::path new_folder() {
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("msa_race_" + std::to_string(getpid()));
  std::filesystem::remove_all(folder);
  return folder;
}

/// Each changes documents of its own names, so that what they do may come in any order.
std::vector<std::unique_ptr<Child>> start_writers(const std::filesystem::path& folder) {
  std::vector<std::unique_ptr<Child>> children;
  for (int n = 0; n < kWriters; ++n) {
    children.push_back(std::make_unique<Child>(folder, kSeed + static_cast<uint32_t>(n),
                                               "w" + std::to_string(n) + "-", kChanges));
  }
  return children;
}

/// The documents of all, in the order of their passages.
BankOracle together(std::span<const BankOracle> oracles) {
  std::map<int64_t, RandomBatch> by_id;
  for (const BankOracle& oracle : oracles) {
    for (const RandomBatch& one : oracle.live()) {
      by_id[one.documents[0].passages.front().id] = one;
    }
  }
  BankOracle all;
  for (const auto& [id, one] : by_id) all.put(std::span(&one, 1));
  return all;
}

BankOracle after(std::span<const Change> changes) {
  BankOracle oracle;
  for (const Change& change : changes) make(change, oracle);
  return oracle;
}

TEST(ManyWriters, TakeTurnsFromTheCreationOnAndLoseNothing) {
  const auto folder = new_folder();
  std::vector<BankOracle> oracles;
  for (const auto& child : start_writers(folder)) {
    EXPECT_EQ(child->wait(), 0);
    const ChildLog log(child->output());
    EXPECT_EQ(log.done.size(), static_cast<size_t>(kChanges));
    oracles.push_back(after(log.done));
  }
  const auto bank = Bank::open(real_file_system(), folder);
  together(oracles).expect_equal(*bank, folder.string() + ".fresh");
  EXPECT_TRUE(verify_bank(real_file_system(), folder).empty());
  std::filesystem::remove_all(folder);
}

TEST(ManyWriters, GoOnWhenTheHoldersOfTheLockAreKilled) {
  const auto folder = new_folder();
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const auto children = start_writers(folder);
  for (int n = 0; n < kWriters / 2; ++n) {
    usleep(random() % 20'000);
    kill(children[n]->pid(), SIGKILL);
  }
  std::vector<BankOracle> oracles;
  const auto prefix = [](int n) { return "w" + std::to_string(n) + "-"; };
  std::vector<ChildLog> logs;
  for (int n = 0; n < kWriters; ++n) {
    const int status = children[n]->wait();
    if (n >= kWriters / 2) {
      EXPECT_EQ(status, 0) << "writer " << n;
    }
    logs.emplace_back(children[n]->output());
  }
  const auto bank = Bank::open(real_file_system(), folder);
  for (int n = 0; n < kWriters; ++n) {
    ChildLog& log = logs[n];
    BankOracle oracle = after(log.done);
    // The names of the bank that are this writer's: as acknowledged, or with what was in flight.
    std::vector<std::string> held;
    for (const Document& document : bank->list(0, 100'000)) {
      if (document.name.starts_with(prefix(n))) {
        held.push_back(document.name + " " + std::to_string(document.passages.front().id));
      }
    }
    const auto names_of = [](const BankOracle& oracle) {
      std::vector<std::string> names;
      for (const RandomBatch& one : oracle.live()) {
        const Document& document = one.documents[0];
        names.push_back(document.name + " " + std::to_string(document.passages.front().id));
      }
      return names;
    };
    if (names_of(oracle) != held) {
      ASSERT_TRUE(log.in_flight) << "writer " << n;
      make(*log.in_flight, oracle);
      ASSERT_EQ(names_of(oracle), held) << "writer " << n;
    }
    oracles.push_back(std::move(oracle));
  }
  together(oracles).expect_equal(*bank, folder.string() + ".fresh");
  EXPECT_TRUE(verify_bank(real_file_system(), folder).empty());
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
