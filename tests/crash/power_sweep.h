#pragma once
// Goes through the recordings of banks and loses the power at every boundary between two calls.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/crash/bank_script.h"

namespace msa::crash {

/// A folder of this process's own in memory, where there is one: syncs cost nothing there.
std::filesystem::path folder_in_memory();

/// A state is drawn from seed, script, position and variant alone, so that it can be made again.
struct PowerSweepOptions {
  std::filesystem::path folder = folder_in_memory();  // made and removed
  uint64_t seed = 20260101;
  int num_operations = 25;                // of a script
  std::vector<std::string> operations{};  // in place of random ones
  int64_t first_script = 0;               // and then every script_step-th
  int64_t script_step = 1;
  int64_t num_scripts = 8;
  int64_t num_variants = 3;  // of losses at a boundary, from first_variant on; see draw_loss
  int64_t first_variant = 0;
  int64_t only_position = -1;  // -1: all
  int64_t max_states = INT64_MAX;
  size_t max_failures = 100;
  bool is_encrypted = false;
  std::string without{};  // a sync that is taken out of the recordings: see syncs_that_matter
};

struct PowerSweep {
  int64_t scripts = 0;
  int64_t operations = 0;
  int64_t commits = 0;  // acknowledged
  int64_t boundaries = 0;
  int64_t states = 0;
  int64_t distinct = 0;       // of the states: not the same bytes as an earlier one of the script
  int64_t second_losses = 0;  // of the states: during what a bank did after a first loss
  std::vector<std::string> failures;
};

/// Names of syncs without which acknowledged documents can be lost.
std::vector<std::string> syncs_that_matter();

/// Makes a recording that of a program without these calls.
void forget_sync(BankRecording& recording, const std::string& name);

/// One thread.
PowerSweep sweep_power(const PowerSweepOptions& options);

/// The recording of one of a sweep's scripts.
BankRecording record_script_of(const PowerSweepOptions& options, int64_t script);

}  // namespace msa::crash
