#pragma once
// What the subcommands of msa share: registration, the model to use, output.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/json.h"
#include "msa/engine/loaded_model.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/gpu.h"
#include "msa/kernels/number_type.h"
#include "msa/memory/bank_facts.h"
#include "msa/memory/gpu_source.h"

namespace msa::cli {

/// Says on stderr that the GPU is left alone, and why.
void say_without_gpu(const std::string& reason);

/// Flags that choose and load a model.
struct ModelFlags {
  std::string folder;
  std::string precision = "auto";
  std::string device = "auto";
  std::string routing = "paper";
  std::string weights = "bf16";  // that decoding on a GPU reads
  bool allows_two_top_k = false;
  int threads = 0;

  void add_to(CLI::App& command);

  /// Adds the flag of `weights`, for commands that write tokens.
  void add_weights_to(CLI::App& command);

  /// Nothing but a GPU will do.
  bool asks_for_gpu() const;

  /// The folder given, else that of the embedded model. Throws Error(kNotFound) if there is none.
  std::filesystem::path model_folder() const;
  model::ConfigOptions config_options() const;

  /// `prefers_bf16`: what precision "auto" means where the CPU multiplies bfloat16 natively. The
  /// device "auto" is the GPU where one can be used; where it was looked for in vain, or cannot
  /// take the model, stderr says why.
  std::unique_ptr<engine::LoadedModel> load(bool prefers_bf16) const;

  /// The GPU that these flags ask for; null: the CPU. Throws Error(kInvalidArgument) if they ask
  /// for the CPU and for what only a GPU can do.
  std::unique_ptr<kernels::Gpu> open_gpu() const;
};

/// Adds the flags that say where a GPU keeps a bank, and what it routes over. `options` must live
/// as long as `command`.
void add_placement_flags(CLI::App& command, memory::GpuSourceOptions& options);

/// Adds --key-file. `path` must live as long as `command`.
void add_key_flag(CLI::App& command, std::string& path);

/// What a bank is read and written through: its key file's, or plain files if `key_file` is empty.
/// Must outlive what is opened. Throws as storage::read_key_file and EncryptedFiles::open, or, of a
/// bank that may be new, EncryptedFiles::create.
std::shared_ptr<FileSystem> files_of(const std::string& bank, const std::string& key_file,
                                     bool may_be_new = false);

/// Adds --decline-from. `decline_from` must live as long as `command`.
void add_decline_flag(CLI::App& command, double& decline_from);

/// Adds --where, conditions of memory::DocumentFilter. `conditions` must live as long as `command`.
void add_where_flag(CLI::App& command, std::vector<std::string>& conditions);

/// One line without its end.
std::string to_text(const memory::BankProblem& problem);

/// Flags that say how a new bank keeps its numbers.
struct BankTypeFlags {
  std::string keys = "bf16";
  std::string content = "bf16";

  void add_to(CLI::App& command);

  kernels::NumberType key_type() const;
  kernels::ContentType content_type() const;
};

/// Adds a flag with its environment twin MSA_<NAME> (dashes become underscores).
template <typename Value>
CLI::Option* add_flag(CLI::App& command, const std::string& name, Value& value,
                      const std::string& help) {
  std::string twin = "MSA_";
  for (const char c : name.substr(2)) twin += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return command.add_option(name, value, help)->envname(twin)->capture_default_str();
}

/// Prints a JSON value on one line of stdout. Throws as expect_written.
void print_json(const OrderedJson& value);

/// Writes text to stdout as it is, zero bytes included.
void print(std::string_view text);

/// Throws Error(kNoSpace) or Error(kIo) unless everything printed so far has been written.
void expect_written();

/// True if stderr is a terminal: progress may overwrite its line.
bool has_terminal();

// One function a subcommand: adds it to the program.
void add_ingest(CLI::App& app);
void add_forget(CLI::App& app);
void add_compact(CLI::App& app);
void add_backup(CLI::App& app);
void add_restore(CLI::App& app);
void add_export(CLI::App& app);
void add_ask(CLI::App& app);
void add_chat(CLI::App& app);
void add_route(CLI::App& app);
void add_bank(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_info(CLI::App& app);
void add_eval(CLI::App& app);
void add_bench(CLI::App& app);
void add_train(CLI::App& app);
void add_convert(CLI::App& app);
void add_questions(CLI::App& app);
void add_completion(CLI::App& app);

}  // namespace msa::cli
