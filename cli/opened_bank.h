#pragma once
// A model and a bank, ready for questions: on the GPU where both fit, else on the CPU.

#include <memory>
#include <string>

#include "cli/command.h"
#include "msa/engine/engine.h"

namespace msa::cli {

struct OpenedBank {
  std::unique_ptr<engine::LoadedModel> model;
  std::shared_ptr<FileSystem> files;
  std::unique_ptr<engine::Engine> engine;
  double seconds = 0;  // that the bank took

  /// As Engine::ask, of what the bank holds now; stderr says what of it is damaged. If that shows
  /// while the question is answered, it is asked again without the damaged documents.
  engine::Answer ask(std::string_view question, const engine::AskOptions& options,
                     const engine::Engine::OnText& on_text = {});

 private:
  friend OpenedBank open_bank(const ModelFlags&, const std::string&, const std::string&,
                              const engine::EngineOptions&);
  void say_problems();
  size_t num_said_ = 0;  // problems
};

/// A bank that the GPU cannot take is opened on the CPU, unless the flags ask for the GPU; stderr
/// says so, what is slower because the GPU has no room for all of it, and what is damaged and so
/// left out. Throws as ModelFlags::load and Engine::open.
OpenedBank open_bank(const ModelFlags& model, const std::string& bank, const std::string& key_file,
                     const engine::EngineOptions& options);

}  // namespace msa::cli
