// The power is lost at every boundary between two calls of a bank's life; the bank must hold what
// was acknowledged, and go on.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "tests/crash/commit_order.h"
#include "tests/crash/power_sweep.h"

namespace msa::crash {
namespace {

constexpr int kScripts = 18;
constexpr int kOperations = 12;  // of a script
constexpr int kProcesses = 2;

TEST(PowerLoss, AtAnyCallLosesNothingThatWasAcknowledged) {
  std::vector<FILE*> outputs;
  for (int n = 0; n < kProcesses; ++n) {
    const std::string command =
        (build_folder() / "power_loss").string() + " --variants 3 --operations " +
        std::to_string(kOperations) + " --scripts " + std::to_string(kScripts / kProcesses) +
        " --first-script " + std::to_string(n) + " --step " + std::to_string(kProcesses);
    outputs.push_back(popen(command.c_str(), "r"));
    ASSERT_NE(outputs.back(), nullptr);
  }
  long long states = 0;
  long long operations = 0;
  for (FILE* output : outputs) {
    char line[4096];
    while (std::fgets(line, sizeof line, output) != nullptr) {
      std::fputs(line, stdout);
      long long numbers[5] = {};
      if (std::sscanf(line,
                      "power: %lld states %lld distinct %lld after a second loss, %lld boundaries "
                      "%lld",
                      &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4]) == 5) {
        states += numbers[0];
        operations += numbers[4];
      }
    }
    EXPECT_EQ(pclose(output), 0);
  }
  EXPECT_GE(states, 5000);
  EXPECT_GE(operations, 200);
}

/// What the last writer left in the log is in the system's memory alone if its sync failed, or if
/// it was killed before. The next one makes it durable before it goes on.
TEST(PowerLoss, WhatAWriterLeftInTheLogIsDurableBeforeTheNextBuildsOnIt) {
  for (const char* end : {"commit with a failing sync", "commit killed"}) {
    PowerSweepOptions options;
    options.operations = {"open", "commit", end, "kill and reopen", "commit"};
    options.num_scripts = 2;
    options.num_variants = 1;
    EXPECT_EQ(sweep_power(options).failures, std::vector<std::string>()) << end;
  }
}

TEST(PowerLoss, OfEncryptedBanksLosesNothingEither) {
  PowerSweepOptions options;
  options.is_encrypted = true;
  options.num_scripts = 2;
  options.num_operations = 12;
  options.num_variants = 2;
  const PowerSweep sweep = sweep_power(options);
  EXPECT_EQ(sweep.failures, std::vector<std::string>());
  EXPECT_GE(sweep.states, 500);
}

class PowerLossWithout : public testing::TestWithParam<std::string> {};

TEST_P(PowerLossWithout, ASyncIsFound) {
  PowerSweepOptions options;
  options.num_operations = 12;
  options.max_failures = 1;
  options.without = GetParam();
  EXPECT_FALSE(sweep_power(options).failures.empty());
}

INSTANTIATE_TEST_SUITE_P(All, PowerLossWithout, testing::ValuesIn(syncs_that_matter()),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

std::vector<std::string> order_problems(const std::vector<BankRecording>& recordings) {
  std::vector<std::string> problems;
  for (size_t script = 0; script < recordings.size(); ++script) {
    for (const RecordedOperation& operation : recordings[script].operations) {
      if (!operation.has_committed) continue;
      const std::string problem = CommitOrder(recordings[script], operation).problem();
      if (problem.empty()) continue;
      problems.push_back("script " + std::to_string(script) + ", call " +
                         std::to_string(operation.first) + ": " + problem);
    }
  }
  return problems;
}

TEST(CommitOrder, EveryAcknowledgementComesAfterAllSyncs) {
  PowerSweepOptions options;
  std::vector<BankRecording> recordings;
  long commits = 0;
  for (int script = 0; script < 48; ++script) {
    recordings.push_back(record_script_of(options, script));
    for (const RecordedOperation& operation : recordings.back().operations) {
      commits += operation.has_committed;
    }
  }
  std::filesystem::remove_all(options.folder);
  EXPECT_EQ(order_problems(recordings), std::vector<std::string>());
  EXPECT_GE(commits, 300);
  std::printf("%ld acknowledged commits\n", commits);
  for (const char* sync : {"segment", "segments folder", "log", "bank folder"}) {
    auto without = recordings;
    for (BankRecording& recording : without) forget_sync(recording, sync);
    EXPECT_FALSE(order_problems(without).empty()) << "without the sync of the " << sync;
  }
}

TEST(PowerLoss, TheSameSeedGivesTheSameRecordingByteForByte) {
  PowerSweepOptions options;
  const BankRecording first = record_script_of(options, 3);
  const BankRecording second = record_script_of(options, 3);
  std::filesystem::remove_all(options.folder);
  ASSERT_EQ(first.events.size(), second.events.size());
  for (size_t n = 0; n < first.events.size(); ++n) {
    EXPECT_EQ(to_string(first.events[n]), to_string(second.events[n]));
    EXPECT_TRUE(first.events[n].bytes == second.events[n].bytes) << to_string(first.events[n]);
  }
}

}  // namespace
}  // namespace msa::crash
