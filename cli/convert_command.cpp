// msa convert: a model folder of another one.

#include <chrono>
#include <cstdio>

#include "cli/command.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/model/conversion.h"
#include "msa/model/parameter_shapes.h"

namespace msa::cli {
namespace {

struct Flags {
  model::ConversionOptions options;
  model::FreshRouters routers;
  std::string form = "msa";
  std::string type = "as-stored";
  std::string unknown = "refuse";
  bool is_json = false;
};

/// Ends the conversion when asked to; says how far it is, on a terminal or every ten seconds.
class Progress {
 public:
  void operator()(uint64_t done, uint64_t total) {
    if (stop_()) throw Error(ErrorCode::kInterrupted, "stopped; no folder was made");
    const auto now = std::chrono::steady_clock::now();
    const bool is_terminal = has_terminal();
    if (now - last_ < std::chrono::milliseconds(is_terminal ? 100 : 10000)) return;
    last_ = now;
    std::fprintf(stderr, "%s%.2f of %.2f GB%s", is_terminal ? "\r" : "",
                 static_cast<double>(done) / 1e9, static_cast<double>(total) / 1e9,
                 is_terminal ? "\033[K" : "\n");
    is_open_ = is_terminal;
  }
  ~Progress() {
    if (is_open_) std::fputs("\n", stderr);
  }

 private:
  StopAsked stop_ = stop_in_order();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool is_open_ = false;
};

model::Conversion convert(const Flags& flags, bool chooses_routers) {
  model::ConversionOptions options = flags.options;
  if (chooses_routers) options.routers = flags.routers;
  if (flags.form == "qwen3") options.form = model::ModelForm::kQwen3;
  if (flags.type == "f32") options.type = storage::DataType::kF32;
  if (flags.type == "bf16") options.type = storage::DataType::kBF16;
  if (flags.type == "int8") options.type = storage::DataType::kI8;
  if (flags.unknown == "copy") options.unknown = model::UnknownTensors::kCopied;
  if (flags.unknown == "leave-out") options.unknown = model::UnknownTensors::kLeftOut;
  Progress progress;
  options.on_progress = [&](uint64_t done, uint64_t total) { progress(done, total); };
  return model::convert_model(real_file_system(), options);
}

void run(const Flags& flags, bool chooses_routers) {
  const model::Conversion made = convert(flags, chooses_routers);
  const std::string& to = flags.options.to.string();
  const auto& layers = made.config.msa.router_layers;
  if (flags.is_json) {
    print_json({{"model", to},
                {"parameters", made.num_parameters},
                {"types", made.types},
                {"bytes", made.num_bytes},
                {"files", made.num_files},
                {"router_layers", layers},
                {"fresh_routers", made.has_fresh_routers},
                {"copied", made.copied},
                {"left_out", made.left_out}});
    return;
  }
  std::printf("%s: %lld parameters in %s, %.1f MB in %lld %s", to.c_str(),
              static_cast<long long>(made.num_parameters), made.types.c_str(),
              static_cast<double>(made.num_bytes) / 1e6, static_cast<long long>(made.num_files),
              made.num_files == 1 ? "file" : "files");
  if (!layers.empty()) {
    std::printf("; %srouters in layers %s", made.has_fresh_routers ? "fresh " : "",
                storage::shape_text(layers).c_str());
  }
  std::printf("\n");
  for (const std::string& name : made.copied) std::printf("copied: %s\n", name.c_str());
  for (const std::string& name : made.left_out) {
    if (!model::is_router_parameter(name)) std::printf("left out: %s\n", name.c_str());
  }
}

}  // namespace

void add_convert(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand(
      "convert", "A model folder of another one: routers for a plain Qwen3, shards, numbers");
  command.add_option("FROM", flags->options.from, "Model folder of the Hugging Face layout")
      ->required();
  command.add_option("TO", flags->options.to, "Folder to make; nothing may be there")->required();
  add_flag(command, "--form", flags->form,
           "msa, which gives routers to a plain Qwen3, or qwen3, which leaves routers out")
      ->check(CLI::IsMember({"msa", "qwen3"}));
  const std::vector<CLI::Option*> of_routers{
      add_flag(command, "--router-layers", flags->routers.layers,
               "Layers that get routers, as 18,19,20 (default: the upper half)")
          ->delimiter(','),
      add_flag(command, "--chunk-tokens", flags->routers.chunk_tokens,
               "Tokens of a chunk of memory")
          ->check(CLI::Range(1, 4096)),
      add_flag(command, "--top-k", flags->routers.top_k, "Documents that a router layer chooses")
          ->check(CLI::Range(1, 4096))};
  add_flag(command, "--expand-every", flags->options.expand_every,
           "Deepen: behind every so many layers a copy that changes nothing until it is trained")
      ->check(CLI::Range(1, 4096));
  add_flag(command, "--dtype", flags->type,
           "Numbers: as-stored, f32, bf16, or int8, in which the matrices of the layers are kept "
           "(one scale a row) and nothing else, which is then bf16")
      ->check(CLI::IsMember({"as-stored", "f32", "bf16", "int8"}));
  add_flag(command, "--shard-size", flags->options.max_shard_bytes,
           "Largest file of tensors, as 5GB; more tensors make several files")
      ->transform(CLI::AsSizeValue(true));
  add_flag(command, "--unknown-tensors", flags->unknown,
           "Tensors that belong to no layer: refuse, copy or leave-out")
      ->check(CLI::IsMember({"refuse", "copy", "leave-out"}));
  add_flag(command, "--card", flags->options.card,
           "Markdown with a YAML header (licence, data, quality), which becomes README.md");
  command.add_flag("--json", flags->is_json, "Print the summary as JSON");
  command.footer("Example: msa convert Qwen3-4B qwen3-4b-msa --card card.md --shard-size 5GB");
  command.callback([flags, of_routers] {
    bool chooses_routers = false;
    for (const CLI::Option* option : of_routers) chooses_routers |= option->count() > 0;
    run(*flags, chooses_routers);
  });
}

}  // namespace msa::cli
