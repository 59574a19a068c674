// msa train: teaches a model to route, to name documents and to answer from memory.

#include <cmath>
#include <cstdio>

#include "cli/command.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/train/trainer.h"

namespace msa::cli {
namespace {

struct TrainFlags {
  std::string config;
  std::vector<std::string> settings;
  bool resumes = false;
  bool is_dry = false;
};

void say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

/// What a run would do, without its first step.
void describe(const train::RunSetup& setup) {
  const auto& corpus = *setup.corpus;
  const double values = static_cast<double>(setup.parameters->num_values());
  std::printf("parameters     %.2f million\n", values / 1e6);
  // Weights, gradients and the optimizer's one or two numbers a weight, four bytes each.
  std::printf("their memory   %.2f GB with gradients and optimizer, without activations\n",
              values * 16 / 1e9);
  std::printf("documents      %lld (%.1f million tokens)\n",
              static_cast<long long>(corpus.num_documents()),
              static_cast<double>(corpus.num_tokens()) / 1e6);
  std::printf("questions      %lld\n", static_cast<long long>(corpus.num_questions()));
  for (const auto& phase : setup.config.phases) {
    std::string end;
    const auto add = [&](bool counts, const std::string& rule) {
      if (counts) end += (end.empty() ? "" : " or ") + rule;
    };
    const auto text = [](int64_t number) { return std::to_string(number); };
    const auto& stop = phase.stop;
    add(stop.steps > 0, text(stop.steps) + " steps");
    add(stop.tokens > 0, text(stop.tokens) + " tokens");
    add(stop.seconds > 0, text(std::llround(stop.seconds)) + " s");
    add(stop.recall > 0, "recall@1 of " + text(std::llround(100 * stop.recall)) + " %");
    std::printf(
        "phase          %s: %s; up to %lld tokens of documents and %lld of sequences a step\n",
        phase.name.c_str(), end.c_str(), static_cast<long long>(phase.mixture.memory_tokens),
        static_cast<long long>(phase.mixture.sequence_tokens));
  }
}

void train(const TrainFlags& flags) {
  std::vector<train::Setting> settings;
  for (const std::string& text : flags.settings) settings.push_back(train::parse_setting(text));
  FileSystem& files = real_file_system();
  auto config = train::load_config(files, flags.config, settings);
  if (flags.is_dry) {
    describe(train::set_up(files, std::move(config), say));
    expect_written();
    return;
  }
  const StopSignals signals;
  train::Trainer trainer(files, train::set_up(files, std::move(config), say), flags.resumes, say);
  if (!trainer.run(stop_requested)) say("stopped; --resume goes on from here");
}

}  // namespace

void add_train(CLI::App& app) {
  auto flags = std::make_shared<TrainFlags>();
  CLI::App& command =
      *app.add_subcommand("train", "Teach a model to route, to name documents and to answer");
  command.add_option("CONFIG", flags->config, "TOML file of the run")->required();
  command
      .add_option("--set", flags->settings, "KEY=VALUE in place of the file's, phase.0.rate=1e-3")
      ->take_all();
  command.add_flag("--resume", flags->resumes, "Go on from the newest checkpoint of the output");
  command.add_flag("--dry-run", flags->is_dry, "Check everything, say what would be done, and end");
  command.footer("Example: msa train configs/smoke.toml --set run.output=/tmp/smoke");
  command.callback([flags] { train(*flags); });
}

}  // namespace msa::cli
