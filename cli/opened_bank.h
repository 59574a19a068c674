#pragma once
// A model and a bank, ready for questions: on the GPU where both fit, else on the CPU.

#include <memory>
#include <string>

#include "cli/command.h"
#include "msa/engine/engine.h"

namespace msa::cli {

struct OpenedBank {
  std::unique_ptr<engine::LoadedModel> model;
  std::unique_ptr<engine::Engine> engine;
  double seconds = 0;  // that the bank took
};

/// A bank that the GPU cannot take is opened on the CPU, unless the flags ask for the GPU; stderr
/// says so, and what is slower because the GPU has no room for all of it. Throws as
/// ModelFlags::load and Engine::open.
OpenedBank open_bank(const ModelFlags& model, const std::string& bank,
                     const memory::GpuSourceOptions& gpu);

}  // namespace msa::cli
