#include "cli/opened_bank.h"

#include <chrono>
#include <cstdio>

#include "msa/base/error.h"

namespace msa::cli {
namespace {

std::unique_ptr<engine::Engine> open_engine(OpenedBank& opened, const std::string& bank,
                                            const memory::GpuSourceOptions& gpu) {
  const auto start = std::chrono::steady_clock::now();
  auto engine = engine::Engine::open(real_file_system(), *opened.model, bank, gpu);
  opened.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return engine;
}

}  // namespace

OpenedBank open_bank(const ModelFlags& model, const std::string& bank,
                     const memory::GpuSourceOptions& gpu) {
  OpenedBank opened;
  opened.model = model.load(/*prefers_bf16=*/false);
  try {
    opened.engine = open_engine(opened, bank, gpu);
  } catch (const Error& error) {
    const bool is_of_gpu = error.code() == ErrorCode::kDevice || error.code() == ErrorCode::kLimit;
    const bool is_asked_for =
        model.asks_for_gpu() || gpu.gpu_bytes != 0 || gpu.scan_keys != memory::ScanKeys::kStored;
    if (opened.model->gpu() == nullptr || !is_of_gpu || is_asked_for) throw;
    say_without_gpu(error.what());
    ModelFlags on_cpu = model;
    on_cpu.device = "cpu";
    opened.model = on_cpu.load(/*prefers_bf16=*/false);
    opened.engine = open_engine(opened, bank, {});
  }
  const std::string note = opened.engine->placement_note();
  if (!note.empty()) std::fprintf(stderr, "msa: %s\n", note.c_str());
  return opened;
}

}  // namespace msa::cli
