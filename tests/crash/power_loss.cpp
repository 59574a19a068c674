// Loses the power while banks are written, at every boundary between two calls to the disk.
//
//   power_loss [--seed N] [--first-script N] [--step N] [--scripts N] [--operations N]
//              [--variants N] [--states N] [--failures N] [--encrypted 1] [--without SYNC]
//   power_loss --seed N --script N --position N --variant N    one state; its recording too
//
// Prints failures, each with the flags that make it again, and a line of counts. Exit code 1: some.

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>

#include "tests/crash/power_sweep.h"

namespace msa::crash {
namespace {

void print_recording(const BankRecording& recording, size_t end) {
  for (const RecordedOperation& operation : recording.operations) {
    if (operation.first >= end) break;
    std::printf("%s%s\n", operation.name.c_str(),
                operation.is_acknowledged ? "" : ": not acknowledged");
    for (size_t n = operation.first; n < operation.end && n < end; ++n) {
      std::printf("  %zu %s\n", n, to_string(recording.events[n]).c_str());
    }
  }
}

int run(int argc, char** argv) {
  PowerSweepOptions options;
  for (int n = 1; n + 1 < argc; n += 2) {
    const std::string_view flag = argv[n];
    if (flag == "--without") {
      options.without = argv[n + 1];
      continue;
    }
    const int64_t value = std::stoll(argv[n + 1]);
    if (flag == "--seed") options.seed = static_cast<uint64_t>(value);
    if (flag == "--script" || flag == "--first-script") options.first_script = value;
    if (flag == "--script") options.num_scripts = 1;
    if (flag == "--step") options.script_step = value;
    if (flag == "--scripts") options.num_scripts = value;
    if (flag == "--operations") options.num_operations = static_cast<int>(value);
    if (flag == "--position") options.only_position = value;
    if (flag == "--variant") options.first_variant = value;
    if (flag == "--variant") options.num_variants = 1;
    if (flag == "--variants") options.num_variants = value;
    if (flag == "--states") options.max_states = value;
    if (flag == "--encrypted") options.is_encrypted = value != 0;
    if (flag == "--failures") options.max_failures = static_cast<size_t>(value);
  }
  if (options.only_position >= 0) {
    print_recording(record_script_of(options, options.first_script),
                    static_cast<size_t>(options.only_position));
  }
  const auto start = std::chrono::steady_clock::now();
  const PowerSweep sweep = sweep_power(options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  for (const std::string& failure : sweep.failures) std::printf("FAILED %s\n", failure.c_str());
  const auto n = [](int64_t number) { return static_cast<long long>(number); };
  std::printf(
      "power: %lld states %lld distinct %lld after a second loss, %lld boundaries %lld operations "
      "%lld commits acknowledged, %zu failures, %.1f s\n",
      n(sweep.states), n(sweep.distinct), n(sweep.second_losses), n(sweep.boundaries),
      n(sweep.operations), n(sweep.commits), sweep.failures.size(), seconds.count());
  return sweep.failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace msa::crash

int main(int argc, char** argv) {
  try {
    return msa::crash::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "power_loss: %s\n", error.what());
    return 2;
  }
}
