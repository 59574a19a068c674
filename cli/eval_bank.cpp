// msa eval bank: questions to a bank that is there.

#include <cstdio>
#include <filesystem>
#include <optional>

#include "cli/command.h"
#include "cli/eval.h"
#include "cli/opened_bank.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/eval/bank_qa.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  std::string bank;
  std::string questions;
  std::string output;
  std::string key_file;
  bool routes_only = false;
  bool is_json = false;
  memory::GpuSourceOptions gpu;
  eval::BankQaOptions options;
};

OrderedJson to_json(const eval::BankQaReport& report, double open_seconds, bool reads) {
  OrderedJson json{{"questions", report.questions},
                   {"left_out", report.left_out},
                   {"documents", report.documents},
                   {"passages", report.passages},
                   {"chunks", report.chunks},
                   {"tokens", report.tokens},
                   {"open_seconds", open_seconds},
                   {"seconds", report.seconds},
                   {"routing", recall_json(report.fused)},
                   {"layers", layers_json(report.layers)},
                   {"any_layer_at_16", report.union_at_16}};
  if (reads) {
    json["named_first"] = report.named;
    json["end_to_end"] = reading_json(report.end_to_end);
    json["rounds"] = report.rounds;
  }
  json["ms_per_question"] = {{"median", report.median_ms}, {"p95", report.p95_ms}};
  return json;
}

void print_text(const eval::BankQaReport& r, double open_seconds, bool reads) {
  std::printf("%lld questions, %lld left out; %lld documents, %lld tokens, opened in %.1f s\n",
              static_cast<long long>(r.questions), static_cast<long long>(r.left_out),
              static_cast<long long>(r.documents), static_cast<long long>(r.tokens), open_seconds);
  print_routing(r.fused, r.layers, r.union_at_16);
  if (reads) {
    std::printf("%-28s %.3f\n", "first document named", r.named);
    std::printf("%-28s %.3f exact, %.3f F1, %.1f rounds\n", "end to end", r.end_to_end.exact,
                r.end_to_end.f1, r.rounds);
  }
  std::printf("%.1f ms a question (median), %.1f (95 %%)\n", r.median_ms, r.p95_ms);
}

void run(Flags& flags) {
  eval::BankQaOptions& options = flags.options;
  options.questions = flags.questions;
  options.reads = !flags.routes_only;
  options.stop = stop_in_order();
  std::error_code ignored;
  MSA_CHECK(!std::filesystem::equivalent(flags.questions, flags.output, ignored),
            "--output must not be the file of the questions, got ", flags.output);
  const OpenedBank opened =
      open_bank(flags.model, flags.bank, flags.key_file, {.gpu = flags.gpu, .filter = {}});
  std::optional<OutputFile> out;
  if (!flags.output.empty()) {
    out.emplace(flags.output);
    options.on_question = [&](const std::string& line) { out->write(line); };
  }
  ProgressText progress;
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.show(std::to_string(done) + " of " + std::to_string(total) + " questions",
                  done == total);
  };
  const auto report =
      eval::evaluate_bank_qa(real_file_system(), *opened.model, *opened.engine, options);
  progress.close();
  if (flags.is_json) {
    print_json(to_json(report, opened.seconds, options.reads));
  } else {
    print_text(report, opened.seconds, options.reads);
  }
}

}  // namespace

void add_eval_bank(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *eval.add_subcommand("bank", "Questions to a bank that is there");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command
      .add_option("QUESTIONS", flags->questions,
                  "jsonl of {\"id\", \"question\", \"answers\", \"documents\"}, also .zst")
      ->required();
  command.add_option("--output", flags->output, "One JSON line a question");
  command.add_flag("--routing-only", flags->routes_only, "Recall alone: nothing is read");
  add_flag(command, "--max-seconds", flags->options.max_seconds,
           "No question but the first begins later; 0 = all are asked")
      ->check(CLI::Range(0.0, 1e6));
  add_placement_flags(command, flags->gpu);
  add_key_flag(command, flags->key_file);
  flags->model.add_to(command);
  flags->model.add_weights_to(command);
  command.add_flag("--json", flags->is_json, "Print the report as JSON");
  command.footer("Example: msa eval bank wiki.bank questions.jsonl --output answers.jsonl");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
