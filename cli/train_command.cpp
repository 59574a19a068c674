// msa train: teaches a model to route, to name documents and to answer from memory.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/command.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/train/run_needs.h"
#include "msa/train/step_flops.h"
#include "msa/train/trainer.h"

namespace msa::cli {
namespace {

struct TrainFlags {
  std::string config;
  std::vector<std::string> settings;
  bool resumes = false;
  bool is_dry = false;
  double teraflops = 0;  // a second, that a dry run counts with; 0: says no time
};

void say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

std::string end_of(const train::StopRule& stop) {
  std::string end;
  const auto add = [&](bool counts, const std::string& rule) {
    if (counts) end += (end.empty() ? "" : " or ") + rule;
  };
  const auto text = [](int64_t number) { return std::to_string(number); };
  add(stop.steps > 0, text(stop.steps) + " steps");
  add(stop.tokens > 0, text(stop.tokens) + " tokens");
  add(stop.seconds > 0, text(std::llround(stop.seconds)) + " s");
  add(stop.recall > 0, "recall@1 of " + text(std::llround(100 * stop.recall)) + " %");
  return end;
}

/// Steps of the phase, if they take `seconds` each; 0 where only the clock ends it and they are not
/// known.
double num_steps(const train::StopRule& stop, int64_t tokens, double seconds) {
  double steps = INFINITY;
  if (stop.steps > 0) steps = static_cast<double>(stop.steps);
  if (stop.tokens > 0) {
    steps =
        std::min(steps, std::ceil(static_cast<double>(stop.tokens) / static_cast<double>(tokens)));
  }
  if (stop.seconds > 0 && seconds > 0) steps = std::min(steps, std::ceil(stop.seconds / seconds));
  return std::isfinite(steps) ? steps : 0;
}

void describe_phase(const train::RunSetup& setup, const train::PhaseConfig& phase,
                    double teraflops) {
  const train::FirstStep step = train::first_step(setup, phase);
  const double flops =
      train::step_flops(setup.model(), step.batch, train::flops_options(phase, step.options))
          .total();
  std::printf("phase          %s: %s\n", phase.name.c_str(), end_of(phase.stop).c_str());
  std::printf(
      "  a step       %lld tokens of documents, %lld of sequences, %lld questions; %.4g TFLOP\n",
      static_cast<long long>(step.batch.documents.num_tokens()),
      static_cast<long long>(step.batch.sequences.num_tokens()),
      static_cast<long long>(step.batch.num_asking), flops / 1e12);
  const train::StepMemory& memory = step.memory;
  const auto gigabytes = [](int64_t bytes) { return static_cast<double>(bytes) / 1e9; };
  std::printf(
      "  memory       about %.2f GB: weights %.2f, optimizer %.2f, the larger of gradients %.2f "
      "and "
      "activations %.2f, a layer at work %.2f\n",
      gigabytes(memory.peak()), gigabytes(memory.weights), gigabytes(memory.optimizer),
      gigabytes(memory.gradients), gigabytes(memory.activations), gigabytes(memory.layer));
  const double seconds = teraflops > 0 ? flops / (teraflops * 1e12) : 0;
  const double steps = num_steps(phase.stop, step.num_tokens(), seconds);
  if (steps > 0) std::printf("  steps        at most %.0f", steps);
  if (steps > 0 && seconds > 0) {
    std::printf(", %.3g s each, %.3g hours", seconds, steps * seconds / 3600);
  }
  if (steps > 0) std::printf("\n");
}

/// What a run would do, without its first step.
void describe(const train::RunSetup& setup, double teraflops) {
  const auto& corpus = *setup.corpus;
  std::printf("parameters     %.2f million\n",
              static_cast<double>(setup.parameters->num_values()) / 1e6);
  std::printf("documents      %lld (%.1f million tokens)\n",
              static_cast<long long>(corpus.num_documents()),
              static_cast<double>(corpus.num_tokens()) / 1e6);
  std::printf("questions      %lld\n", static_cast<long long>(corpus.num_questions()));
  for (const auto& phase : setup.config.phases) describe_phase(setup, phase, teraflops);
}

void train(const TrainFlags& flags) {
  std::vector<train::Setting> settings;
  for (const std::string& text : flags.settings) settings.push_back(train::parse_setting(text));
  FileSystem& files = real_file_system();
  auto config = train::load_config(files, flags.config, settings);
  if (flags.is_dry) {
    describe(train::set_up(files, std::move(config), {.writes = false, .on_line = say}),
             flags.teraflops);
    expect_written();
    return;
  }
  const StopAsked stop = stop_in_order();
  train::RunSetup setup;
  try {
    setup = train::set_up(files, std::move(config), {.writes = true, .on_line = say, .stop = stop});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInterrupted) throw;
    say(std::string(error.what()) + " before the first step");
    return;
  }
  train::Trainer trainer(files, std::move(setup), flags.resumes, say);
  if (!trainer.run(stop)) say("stopped; --resume goes on from here");
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
  command
      .add_option("--teraflops", flags->teraflops,
                  "TFLOP/s that the device reaches (msa bench train), for the time of a --dry-run")
      ->check(CLI::Range(1e-6, 1e6));
  command.footer("Example: msa train configs/smoke.toml --set run.output=/tmp/smoke");
  command.callback([flags] { train(*flags); });
}

}  // namespace msa::cli
