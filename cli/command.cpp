#include "cli/command.h"

#include <malloc.h>
#include <unistd.h>

#include <cstdio>

#include "msa/base/error.h"
#include "msa/base/threads.h"

namespace msa::cli {

std::atomic<bool> stop_requested{false};

namespace {

/// The folder models/ of the installation or of the source tree that holds the program.
std::filesystem::path embedded_model() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"../../models/msa-proto", "../share/msa/models/msa-proto"}) {
    const auto folder = (program / place).lexically_normal();
    if (std::filesystem::exists(folder / "config.json", error)) return folder;
  }
  return {};
}

}  // namespace

void ModelFlags::add_to(CLI::App& command) {
  add_flag(command, "--model", folder, "Model folder (default: the embedded model)");
  add_flag(command, "--precision", precision, "Matrix products in auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_flag(command, "--threads", threads, "Threads, 0 = one per core");
}

std::unique_ptr<engine::LoadedModel> ModelFlags::load(bool prefers_bf16) const {
  if (threads != 0) set_num_threads(threads);
  engine::LoadOptions options;
  options.folder = folder.empty() ? embedded_model() : std::filesystem::path(folder);
  if (options.folder.empty()) {
    throw Error(ErrorCode::kNotFound, "no embedded model beside the program: give --model DIR");
  }
  bool is_bf16 = precision == "bf16";
#if defined(__x86_64__)
  if (precision == "auto" && prefers_bf16) is_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
#else
  (void)prefers_bf16;
#endif
  options.transformer.precision =
      is_bf16 ? model::Precision::kBFloat16 : model::Precision::kFloat32;
  return engine::LoadedModel::load(real_file_system(), options);
}

void print_json(const OrderedJson& value) {
  std::fputs((to_line(value) + "\n").c_str(), stdout);
  std::fflush(stdout);
}

bool has_terminal() { return isatty(STDERR_FILENO) != 0; }

}  // namespace msa::cli
