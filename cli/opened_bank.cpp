#include "cli/opened_bank.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "msa/base/error.h"

namespace msa::cli {
namespace {

std::unique_ptr<engine::Engine> open_engine(OpenedBank& opened, const std::string& bank,
                                            const engine::EngineOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto engine = engine::Engine::open(*opened.files, *opened.model, bank, options);
  opened.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return engine;
}

}  // namespace

engine::Answer OpenedBank::ask(std::string_view question, const engine::AskOptions& options,
                               const engine::Engine::OnText& on_text) {
  if (engine->refresh()) say_problems();
  bool has_text = false;
  const auto noticing = [&](std::string_view text) {
    has_text = true;
    on_text(text);
  };
  try {
    return engine->ask(question, options,
                       on_text ? engine::Engine::OnText(noticing) : engine::Engine::OnText());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption || has_text) throw;
    engine->leave_out_damaged();
    say_problems();
    return engine->ask(question, options, on_text);
  }
}

/// If there are others than when it was last called.
void OpenedBank::say_problems() {
  constexpr size_t kMaxLines = 5;
  const auto& problems = engine->problems();
  if (problems.size() == num_said_) return;
  num_said_ = problems.size();
  std::fprintf(stderr, "msa: %s is damaged in %zu places; documents there are left out:\n",
               engine->bank().folder().c_str(), problems.size());
  for (size_t n = 0; n < std::min(problems.size(), kMaxLines); ++n) {
    std::fprintf(stderr, "msa:   %s\n", to_text(problems[n]).c_str());
  }
  if (problems.size() > kMaxLines) std::fprintf(stderr, "msa:   ... (msa bank verify)\n");
}

OpenedBank open_bank(const ModelFlags& model, const std::string& bank, const std::string& key_file,
                     const engine::EngineOptions& options) {
  OpenedBank opened;
  opened.files = files_of(bank, key_file);
  opened.model = model.load(/*prefers_bf16=*/false);
  try {
    opened.engine = open_engine(opened, bank, options);
  } catch (const Error& error) {
    const bool is_of_gpu = error.code() == ErrorCode::kDevice || error.code() == ErrorCode::kLimit;
    const memory::GpuSourceOptions& gpu = options.gpu;
    const bool is_asked_for =
        model.asks_for_gpu() || gpu.gpu_bytes != 0 || gpu.scan_keys != memory::ScanKeys::kStored;
    if (opened.model->gpu() == nullptr || !is_of_gpu || is_asked_for) throw;
    say_without_gpu(error.what());
    ModelFlags on_cpu = model;
    on_cpu.device = "cpu";
    opened.model = on_cpu.load(/*prefers_bf16=*/false);
    opened.engine = open_engine(opened, bank, {.gpu = {}, .filter = options.filter});
  }
  const std::string note = opened.engine->placement_note();
  if (!note.empty()) std::fprintf(stderr, "msa: %s\n", note.c_str());
  opened.say_problems();
  return opened;
}

}  // namespace msa::cli
