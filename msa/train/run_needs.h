#pragma once
// What a run needs of its machine, asked for before the first step.

#include <cstdint>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/samples/batch.h"
#include "msa/train/run_setup.h"
#include "msa/train/step_memory.h"

namespace msa::train {

/// A phase's first batch, with the options of its steps and the memory that it asks for.
struct FirstStep {
  samples::Batch batch;
  ForwardOptions options;
  StepMemory memory;

  int64_t num_tokens() const { return batch.documents.num_tokens() + batch.sequences.num_tokens(); }
};
FirstStep first_step(const RunSetup& setup, const PhaseConfig& phase);

/// Bytes that the device of the run still has for it: on the CPU without swapping; 0: not known.
int64_t free_memory_bytes(at::Device device);

/// Throws Error(kLimit) that says what the phase needs and what is there, unless `free_bytes`, 0 if
/// not known, are enough for the step beside `held_bytes` of it that are taken already.
void expect_memory(const std::string& phase, const StepMemory& memory, int64_t held_bytes,
                   int64_t free_bytes);

/// Room on the volume of the output folder for the checkpoints that stay (ten at most are counted),
/// one that is being written, and the model at the end; what checkpoints hold there already counts.
/// Throws Error(kNoSpace) that says what is needed and what is there. `state` is the optimizer's.
void expect_room_on_disk(FileSystem& files, const RunSetup& setup,
                         const std::vector<NamedTensor>& state);

/// Both, for the first step of every phase, when parameters and state are there.
void expect_room(FileSystem& files, const RunSetup& setup, const std::vector<NamedTensor>& state);

}  // namespace msa::train
