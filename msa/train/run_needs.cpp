#include "msa/train/run_needs.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <cstdio>

#include "msa/base/available_memory.h"
#include "msa/base/error.h"
#include "msa/samples/batch_maker.h"
#include "msa/train/train_step.h"

namespace msa::train {
namespace {

constexpr int64_t kMostCheckpoints = 10;  // that room is asked for; who keeps more watches the disk

std::string size_text(int64_t bytes) {
  char text[32];
  const auto megabytes = static_cast<double>(bytes) / 1e6;
  if (megabytes < 1000) {
    std::snprintf(text, sizeof text, "%.1f MB", megabytes);
  } else {
    std::snprintf(text, sizeof text, "%.1f GB", megabytes / 1000);
  }
  return text;
}

int64_t bytes_of(const std::vector<NamedTensor>& tensors) {
  int64_t bytes = 0;
  for (const NamedTensor& named : tensors) bytes += static_cast<int64_t>(named.tensor.nbytes());
  return bytes;
}

/// What the files below a folder of folders hold.
int64_t held_bytes(FileSystem& files, const std::filesystem::path& folder) {
  int64_t bytes = 0;
  if (!files.exists(folder)) return bytes;
  for (const std::string& inner : files.list(folder)) {
    if (!std::filesystem::is_directory(folder / inner)) continue;
    for (const std::string& name : files.list(folder / inner)) {
      bytes += static_cast<int64_t>(files.open_to_read(folder / inner / name)->size());
    }
  }
  return bytes;
}

}  // namespace

FirstStep first_step(const RunSetup& setup, const PhaseConfig& phase) {
  FirstStep step;
  const samples::BatchMaker maker(*setup.corpus, *setup.layout, phase.mixture,
                                  {.seed = static_cast<uint64_t>(setup.config.run.seed)});
  step.batch = maker.make(0);
  step.options = phase_options(phase, *setup.parameters, setup.type);
  step.options.recomputes_layers = setup.config.run.recompute == Recompute::kLayers;
  step.memory = step_memory(setup.model(), step.batch, step.options, setup.config.optimizer.method);
  return step;
}

int64_t free_memory_bytes(at::Device device) {
  if (device.is_cpu()) return available_memory_bytes();
  try {
    return static_cast<int64_t>(
        c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
  } catch (const c10::Error&) {
    return 0;  // an allocator need not know
  }
}

void expect_memory(const std::string& phase, const StepMemory& memory, int64_t held_bytes,
                   int64_t free_bytes) {
  const int64_t wanted = memory.peak() - held_bytes;
  if (free_bytes == 0 || wanted <= free_bytes) return;
  throw Error(ErrorCode::kLimit, "phase ", phase, ": a step needs about ", size_text(memory.peak()),
              " of memory, ", size_text(wanted), " more than are taken, and ",
              size_text(free_bytes),
              " are free: run.recompute = \"layers\", or fewer tokens a step, need less");
}

void expect_room_on_disk(FileSystem& files, const RunSetup& setup,
                         const std::vector<NamedTensor>& state) {
  const RunConfig& run = setup.config.run;
  const int64_t parameters = bytes_of(setup.parameters->all());
  const int64_t checkpoint = parameters + bytes_of(state);
  const int64_t num_checkpoints = std::min(run.keep, kMostCheckpoints) + 1;
  const int64_t model =
      setup.config.model.precision == Numbers::kBFloat16 ? parameters / 2 : parameters;
  const int64_t wanted =
      num_checkpoints * checkpoint + model - held_bytes(files, run.output / "checkpoints");
  const auto free = static_cast<int64_t>(files.free_bytes(run.output));
  if (wanted <= free) return;
  throw Error(ErrorCode::kNoSpace, run.output.string(), ": ", num_checkpoints, " checkpoints of ",
              size_text(checkpoint), " and a model of ", size_text(model), " need ",
              size_text(wanted), " more, and ", size_text(free),
              " are free on the disk: a smaller run.keep needs less");
}

void expect_room(FileSystem& files, const RunSetup& setup, const std::vector<NamedTensor>& state) {
  expect_room_on_disk(files, setup, state);
  const int64_t free_bytes = free_memory_bytes(setup.device);
  for (const PhaseConfig& phase : setup.config.phases) {
    expect_memory(phase.name, first_step(setup, phase).memory,
                  bytes_of(setup.parameters->all()) + bytes_of(state), free_bytes);
  }
}

}  // namespace msa::train
