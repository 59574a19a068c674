#pragma once
// What the subcommands of msa share: registration, the model to use, output.

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "msa/base/json.h"
#include "msa/engine/loaded_model.h"

namespace msa::cli {

/// Set by SIGINT and SIGTERM: long work commits what it has and stops.
extern std::atomic<bool> stop_requested;

/// Flags that choose and load a model.
struct ModelFlags {
  std::string folder;
  std::string precision = "auto";
  int threads = 0;

  void add_to(CLI::App& command);

  /// `prefers_bf16`: what "auto" means where the CPU multiplies bfloat16 natively.
  std::unique_ptr<engine::LoadedModel> load(bool prefers_bf16) const;
};

/// Adds a flag with its environment twin MSA_<NAME> (dashes become underscores).
template <typename Value>
CLI::Option* add_flag(CLI::App& command, const std::string& name, Value& value,
                      const std::string& help) {
  std::string twin = "MSA_";
  for (const char c : name.substr(2)) twin += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return command.add_option(name, value, help)->envname(twin)->capture_default_str();
}

/// Prints a JSON value on one line of stdout.
void print_json(const OrderedJson& value);

/// True if stderr is a terminal: progress may overwrite its line.
bool has_terminal();

// One function a subcommand: adds it to the program.
void add_ingest(CLI::App& app);
void add_ask(CLI::App& app);
void add_chat(CLI::App& app);
void add_route(CLI::App& app);
void add_bank(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_info(CLI::App& app);
void add_eval(CLI::App& app);
void add_bench(CLI::App& app);
void add_completion(CLI::App& app);

}  // namespace msa::cli
