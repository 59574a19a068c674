#include "cli/command.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/gpu.h"
#include "msa/storage/encrypted_files.h"

namespace msa::cli {

namespace {

/// The folder models/ of the installation or of the source tree that holds the program.
std::filesystem::path embedded_model() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"../../models/msa-tiny", "../share/msa/models/msa-tiny"}) {
    auto folder = (program / place).lexically_normal();
    if (std::filesystem::exists(folder / "config.json", error)) return folder;
  }
  return {};
}

}  // namespace

void say_without_gpu(const std::string& reason) {
  std::fprintf(stderr, "msa: %s; computing on the CPU\n", reason.c_str());
}

void BankTypeFlags::add_to(CLI::App& command) {
  add_flag(command, "--key-type", keys, "Routing keys of a new bank: f32, bf16 or int8")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  add_flag(command, "--content-type", content, "K and V of a new bank: f32, bf16, int8 or int4")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int4"}));
}

kernels::NumberType BankTypeFlags::key_type() const { return kernels::number_type_of(keys); }

kernels::ContentType BankTypeFlags::content_type() const {
  return kernels::content_type_of(content);
}

void ModelFlags::add_to(CLI::App& command) {
  add_flag(command, "--model", folder, "Model folder (default: the embedded model)");
  add_flag(command, "--precision", precision, "Matrix products in auto, f32 or bf16")
      ->check(CLI::IsMember({"auto", "f32", "bf16"}));
  add_flag(command, "--device", device, "Compute on auto, cpu or gpu")
      ->check(CLI::IsMember({"auto", "cpu", "gpu"}));
  add_flag(command, "--routing", routing,
           "Which routing vectors are normalised: those of the paper, or of the published code")
      ->check(CLI::IsMember({"paper", "published"}));
  command.add_flag("--allow-two-top-k", allows_two_top_k,
                   "Accept a config.json whose doc_top_k and top_k_docs differ; doc_top_k counts");
  add_flag(command, "--threads", threads, "Threads, 0 = one per core");
}

void ModelFlags::add_weights_to(CLI::App& command) {
  add_flag(
      command, "--weights", weights,
      "Weights that decoding on a GPU reads: bf16, int8 or int4, made when the model is loaded")
      ->check(CLI::IsMember({"bf16", "int8", "int4"}));
}

bool ModelFlags::asks_for_gpu() const { return device == "gpu" || weights != "bf16"; }

std::filesystem::path ModelFlags::model_folder() const {
  auto found = folder.empty() ? embedded_model() : std::filesystem::path(folder);
  if (found.empty()) {
    throw Error(ErrorCode::kNotFound, "no embedded model beside the program: give --model DIR");
  }
  return found;
}

model::ConfigOptions ModelFlags::config_options() const {
  model::ConfigOptions options;
  if (routing == "published") options.routing = model::RoutingConvention::kPublished;
  options.allow_two_top_k = allows_two_top_k;
  return options;
}

std::unique_ptr<engine::LoadedModel> ModelFlags::load(bool prefers_bf16) const {
  if (threads != 0) set_num_threads(threads);
  engine::LoadOptions options;
  options.folder = model_folder();
  options.transformer.config = config_options();
  bool is_bf16 = precision == "bf16";
#if defined(__x86_64__)
  if (precision == "auto" && prefers_bf16) is_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
#else
  (void)prefers_bf16;
#endif
  options.transformer.precision =
      is_bf16 ? model::Precision::kBFloat16 : model::Precision::kFloat32;
  options.gpu = open_gpu();
  options.can_do_without = !asks_for_gpu();
  options.step_type = kernels::weight_type_of(weights);
  auto model = engine::LoadedModel::load(real_file_system(), std::move(options));
  if (!model->gpu_refusal().empty()) say_without_gpu(model->gpu_refusal());
  return model;
}

std::unique_ptr<kernels::Gpu> ModelFlags::open_gpu() const {
  // On a GPU matrices are bfloat16.
  MSA_CHECK(device != "gpu" || precision != "f32",
            "--precision f32 is of the CPU: give --device cpu");
  MSA_CHECK(!asks_for_gpu() || (device != "cpu" && precision != "f32"), "--weights ", weights,
            " is of a GPU: leave out --device cpu and --precision f32");
  if (asks_for_gpu()) return kernels::Gpu::open();
  std::error_code missing;
  const bool has_library = std::filesystem::exists(kernels::Gpu::beside_the_program(), missing);
  if (device == "cpu" || precision == "f32" || !has_library) return nullptr;
  try {
    return kernels::Gpu::open();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDevice) throw;
    say_without_gpu(error.what());
    return nullptr;
  }
}

void add_placement_flags(CLI::App& command, memory::GpuSourceOptions& options) {
  add_flag(command, "--gpu-memory", options.gpu_bytes,
           "GPU memory for the bank, as 80GB; 0 = what is free")
      ->transform(CLI::AsSizeValue(true));
  add_flag(command, "--host-memory", options.host_bytes,
           "Host memory for what the GPU has no room for; 0 = half of what is free")
      ->transform(CLI::AsSizeValue(true));
  command
      .add_option_function<std::string>(
          "--scan-keys",
          [&options](const std::string& name) {
            options.scan_keys =
                name == "int4" ? memory::ScanKeys::kInt4 : memory::ScanKeys::kStored;
          },
          "Keys that a GPU routes over: stored, or int4 made of them (compute capability 9.x)")
      ->envname("MSA_SCAN_KEYS")
      ->default_str("stored")
      ->check(CLI::IsMember({"stored", "int4"}));
}

void add_key_flag(CLI::App& command, std::string& path) {
  add_flag(command, "--key-file", path, "File of the key that the bank is encrypted with");
}

std::shared_ptr<FileSystem> files_of(const std::string& bank, const std::string& key_file,
                                     bool may_be_new) {
  if (key_file.empty()) return {&real_file_system(), [](FileSystem*) {}};
  const auto secret = storage::read_key_file(key_file);
  using storage::EncryptedFiles;
  return may_be_new ? EncryptedFiles::create(real_file_system(), bank, secret)
                    : EncryptedFiles::open(real_file_system(), bank, secret);
}

void add_decline_flag(CLI::App& command, double& decline_from) {
  add_flag(command, "--decline-from", decline_from,
           "Least probability of \"I do not know.\"; below it the next best answer is given")
      ->check(CLI::Range(0.0, 1.0));
}

void add_where_flag(CLI::App& command, std::vector<std::string>& conditions) {
  command
      .add_option("--where", conditions,
                  "Only documents with this attribute, KEY=VALUE (also != < <= > >=); several: all")
      ->allow_extra_args(false);
}

std::string to_text(const memory::BankProblem& problem) {
  return problem.file +
         (problem.offset >= 0 ? " at byte " + std::to_string(problem.offset) : std::string()) +
         ": " + problem.what +
         (problem.document.empty() ? std::string() : "; documents: " + problem.document);
}

void print_json(const OrderedJson& value) {
  print(to_line(value) + "\n");
  expect_written();
}

void print(std::string_view text) {
  errno = 0;
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void expect_written() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  const int reason = errno;
  throw Error(reason == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot write the output",
              reason == 0 ? "" : ": ", reason == 0 ? "" : std::strerror(reason));
}

bool has_terminal() { return isatty(STDERR_FILENO) != 0; }

}  // namespace msa::cli
