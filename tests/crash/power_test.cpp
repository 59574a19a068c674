// The power is lost at every boundary between two calls of a bank's life; the bank must hold what
// was acknowledged, and go on.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/crash/commit_order.h"
#include "tests/crash/power_sweep.h"

namespace msa::crash {
namespace {

constexpr int kScripts = 8;
constexpr int kProcesses = 2;

TEST(PowerLoss, AtAnyCallLosesNothingThatWasAcknowledged) {
  std::vector<FILE*> outputs;
  for (int n = 0; n < kProcesses; ++n) {
    const std::string command = MSA_BINARY_DIR "/power_loss --variants 2 --scripts " +
                                std::to_string(kScripts / kProcesses) + " --first-script " +
                                std::to_string(n) + " --step " + std::to_string(kProcesses);
    outputs.push_back(popen(command.c_str(), "r"));
    ASSERT_NE(outputs.back(), nullptr);
  }
  long long states = 0;
  long long operations = 0;
  for (FILE* output : outputs) {
    char line[4096];
    while (std::fgets(line, sizeof line, output) != nullptr) {
      std::fputs(line, stdout);
      long long numbers[4] = {};
      if (std::sscanf(line, "power: %lld states %lld after a second loss, %lld boundaries %lld",
                      &numbers[0], &numbers[1], &numbers[2], &numbers[3]) == 4) {
        states += numbers[0];
        operations += numbers[3];
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
    options.num_scripts = 4;
    options.num_variants = 1;
    EXPECT_EQ(sweep_power(options).failures, std::vector<std::string>()) << end;
  }
}

class PowerLossWithout : public testing::TestWithParam<std::string> {};

TEST_P(PowerLossWithout, ASyncIsFound) {
  PowerSweepOptions options;
  options.num_scripts = 2;
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

/// What is wrong with the order of the acknowledged commits of all scripts; counts them.
std::vector<std::string> order_problems(const std::string& without, int64_t* commits) {
  PowerSweepOptions options;
  std::vector<std::string> problems;
  for (int script = 0; script < kScripts; ++script) {
    BankRecording recording = record_script_of(options, script);
    if (!without.empty()) forget_sync(recording, without);
    for (const RecordedOperation& operation : recording.operations) {
      if (!operation.has_committed) continue;
      ++*commits;
      const std::string problem = CommitOrder(recording, operation).problem();
      if (!problem.empty()) {
        problems.push_back("script " + std::to_string(script) + ", call " +
                           std::to_string(operation.first) + ": " + problem);
      }
    }
  }
  std::filesystem::remove_all(options.folder);
  return problems;
}

TEST(CommitOrder, EveryAcknowledgementComesAfterAllSyncs) {
  int64_t commits = 0;
  EXPECT_EQ(order_problems("", &commits), std::vector<std::string>());
  EXPECT_GE(commits, 80);
  std::printf("%lld commits\n", static_cast<long long>(commits));
  for (const char* sync : {"segment", "segments folder", "log", "bank folder"}) {
    EXPECT_FALSE(order_problems(sync, &commits).empty()) << "without the sync of the " << sync;
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
