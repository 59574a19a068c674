// msa eval: how good answers are.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/eval/qa.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  std::string set;
  std::string extra;
  std::string work;
  std::string output;
  bool routes_only = false;
  bool is_json = false;
  eval::QaOptions options;
};

OrderedJson recall_json(const eval::Recall& recall) {
  return {{"at_1", recall.at_1}, {"at_16", recall.at_16}};
}

OrderedJson reading_json(const eval::Reading& reading) {
  return {{"exact_match", reading.exact}, {"f1", reading.f1}};
}

OrderedJson to_json(const eval::QaReport& report) {
  OrderedJson layers = OrderedJson::array();
  for (const auto& layer : report.layers) {
    layers.push_back({{"layer", layer.layer}, {"recall", recall_json(layer.recall)}});
  }
  return {{"questions", report.questions},
          {"documents", report.documents},
          {"tokens", report.tokens},
          {"routing", recall_json(report.fused)},
          {"layers", std::move(layers)},
          {"any_layer_at_16", report.union_at_16},
          {"bm25", recall_json(report.bm25)},
          {"named_first", report.named},
          {"gold_text", reading_json(report.gold_text)},
          {"end_to_end", reading_json(report.end_to_end)},
          {"ingest_tokens_per_second", report.ingest_tokens_per_second},
          {"ms_per_question", report.milliseconds_per_question}};
}

void print_text(const eval::QaReport& r, bool has_reading) {
  std::printf("%lld questions, %lld documents, %lld tokens\n", static_cast<long long>(r.questions),
              static_cast<long long>(r.documents), static_cast<long long>(r.tokens));
  const auto row = [](const std::string& name, const eval::Recall& recall) {
    std::printf("%-28s %.3f   %.3f\n", name.c_str(), recall.at_1, recall.at_16);
  };
  std::printf("%-28s %s\n", "recall", "@1      @16");
  row("routing, mean of layers", r.fused);
  for (const auto& layer : r.layers)
    row("routing, layer " + std::to_string(layer.layer), layer.recall);
  std::printf("%-28s         %.3f\n", "chosen by any layer", r.union_at_16);
  row("BM25", r.bm25);
  if (!has_reading) return;
  std::printf("%-28s %.3f\n", "first document named", r.named);
  std::printf("%-28s %s\n", "reading", "exact   F1");
  std::printf("%-28s %.3f   %.3f\n", "gold text appended", r.gold_text.exact, r.gold_text.f1);
  std::printf("%-28s %.3f   %.3f\n", "end to end", r.end_to_end.exact, r.end_to_end.f1);
  std::printf("%.0f ms a question (median)\n", r.milliseconds_per_question);
}

void run(Flags& flags) {
  const auto model = flags.model.load(false);
  eval::QaOptions& options = flags.options;
  options.set = flags.set;
  options.extra = flags.extra;
  options.reads = !flags.routes_only;
  const bool is_temporary = flags.work.empty();
  options.work = is_temporary ? std::filesystem::temp_directory_path() /
                                    ("msa-eval-" + std::to_string(getpid()))
                              : std::filesystem::path(flags.work);
  auto last = std::chrono::steady_clock::now();
  options.on_progress = [&](int64_t done, int64_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (stop_requested) throw Error(ErrorCode::kInterrupted, "stopped after ", done, " questions");
    if (now - last < std::chrono::seconds(1) && done != total) return;
    last = now;
    std::fprintf(stderr, "%s%lld of %lld questions%s", has_terminal() ? "\r" : "",
                 static_cast<long long>(done), static_cast<long long>(total),
                 has_terminal() && done != total ? "\033[K" : "\n");
  };
  std::ofstream out;
  if (!flags.output.empty()) {
    out.open(flags.output, std::ios::binary | std::ios::trunc);
    if (!out) throw Error(ErrorCode::kIo, "cannot write ", flags.output);
    options.on_question = [&](const std::string& line) { out << line << '\n'; };
  }
  const auto report = eval::evaluate_qa(real_file_system(), *model, options);
  if (is_temporary) std::filesystem::remove_all(options.work);
  if (flags.is_json) {
    print_json(to_json(report));
  } else {
    print_text(report, options.reads);
  }
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App& eval = *app.add_subcommand("eval", "How good routing, naming and reading are");
  eval.require_subcommand(1);
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *eval.add_subcommand("qa", "Questions with known documents and answers; BM25 beside it");
  command
      .add_option("SET_DIR", flags->set,
                  "Folder with documents.jsonl and questions.jsonl (also .zst)")
      ->required();
  command.add_option("--extra", flags->extra, "Documents among which those of the set are hidden");
  command.add_option("--num-extra", flags->options.num_extra,
                     "So many of them, drawn with a fixed seed");
  command.add_option("--questions", flags->options.questions,
                     "The first N, or a file of question ids");
  command.add_option("--work", flags->work,
                     "Folder for the bank, kept and used again (default: temporary)");
  command.add_option("--output", flags->output, "One JSON line a question");
  command.add_flag("--routing-only", flags->routes_only, "Recall alone: nothing is read");
  flags->model.add_to(command);
  command.add_flag("--json", flags->is_json, "Print the report as JSON");
  command.footer(
      "Example: msa eval qa sets/trivia --extra wiki.jsonl.zst --num-extra 10000 --questions 500");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
