// msa eval: how good answers are.

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "cli/command.h"
#include "cli/eval.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/eval/qa.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  BankTypeFlags types;
  std::string set;
  std::string extra;
  std::string work;
  std::string output;
  bool routes_only = false;
  bool is_json = false;
  eval::QaOptions options;
};

OrderedJson to_json(const eval::QaReport& report, bool has_gold) {
  if (!has_gold) {
    return {{"questions", report.questions},
            {"documents", report.documents},
            {"tokens", report.tokens},
            {"declined", report.declined},
            {"ingest_tokens_per_second", report.ingest_tokens_per_second},
            {"ms_per_question", report.milliseconds_per_question}};
  }
  return {{"questions", report.questions},
          {"documents", report.documents},
          {"tokens", report.tokens},
          {"routing", recall_json(report.fused)},
          {"layers", layers_json(report.layers)},
          {"any_layer_at_16", report.union_at_16},
          {"bm25", recall_json(report.bm25)},
          {"named_first", report.named},
          {"gold_text", reading_json(report.gold_text)},
          {"end_to_end", reading_json(report.end_to_end)},
          {"declined", report.declined},
          {"ingest_tokens_per_second", report.ingest_tokens_per_second},
          {"ms_per_question", report.milliseconds_per_question}};
}

void print_text(const eval::QaReport& r, bool has_reading, bool has_gold) {
  std::printf("%lld questions, %lld documents, %lld tokens\n", static_cast<long long>(r.questions),
              static_cast<long long>(r.documents), static_cast<long long>(r.tokens));
  if (!has_gold) {
    std::printf("\"I do not know.\" to %.3f of them\n", r.declined);
    std::printf("%.0f ms a question (median)\n", r.milliseconds_per_question);
    return;
  }
  print_routing(r.fused, r.layers, r.union_at_16);
  print_recall("BM25", r.bm25);
  if (!has_reading) return;
  std::printf("%-28s %.3f\n", "first document named", r.named);
  std::printf("%-28s %s\n", "reading", "exact   F1");
  std::printf("%-28s %.3f   %.3f\n", "gold text appended", r.gold_text.exact, r.gold_text.f1);
  std::printf("%-28s %.3f   %.3f\n", "end to end", r.end_to_end.exact, r.end_to_end.f1);
  std::printf("\"I do not know.\" to %.3f of them\n", r.declined);
  std::printf("%.0f ms a question (median)\n", r.milliseconds_per_question);
}

/// The folder that the bank is in: the one given, else a new one that goes when this does.
class WorkFolder {
 public:
  explicit WorkFolder(const std::string& given) : path_(given), is_temporary_(given.empty()) {
    if (!is_temporary_) return;
    std::string name = (std::filesystem::temp_directory_path() / "msa-eval-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
      throw Error(ErrorCode::kIo, "cannot make the folder ", name, ": ", std::strerror(errno));
    }
    path_ = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (is_temporary_) std::filesystem::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool is_temporary_;
};

eval::QaReport evaluate(Flags& flags) {
  eval::QaOptions& options = flags.options;
  options.set = flags.set;
  options.extra = flags.extra;
  options.key_type = flags.types.key_type();
  options.content_type = flags.types.content_type();
  options.reads = !flags.routes_only;
  options.stop = stop_in_order();
  std::optional<OutputFile> out;
  if (!flags.output.empty()) {
    out.emplace(flags.output);
    options.on_question = [&](const std::string& line) { out->write(line); };
  }
  ProgressText progress;
  options.on_ingest = [&](const engine::IngestProgress& p) {
    if (p.seconds <= 0 || p.input_bytes == 0) return;
    const auto percent = 100 * p.input_bytes_read / p.input_bytes;
    const auto rate = std::llround(static_cast<double>(p.tokens) / p.seconds);
    progress.show(std::to_string(percent) + "% of the documents encoded, " +
                      std::to_string(p.tokens) + " tokens, " + std::to_string(rate) + " tokens/s",
                  false);
  };
  options.on_progress = [&](int64_t done, int64_t total) {
    progress.show(std::to_string(done) + " of " + std::to_string(total) + " questions",
                  done == total);
  };
  const auto model = flags.model.load(false);
  MSA_CHECK(model->gpu() == nullptr || options.key_type != kernels::NumberType::kFloat32,
            "a GPU routes over keys of bf16 or int8: give --device cpu for --key-type f32");
  const WorkFolder work(flags.work);
  options.work = work.path();
  return eval::evaluate_qa(real_file_system(), *model, options);
}

void run(Flags& flags) {
  const auto report = evaluate(flags);
  if (flags.is_json) {
    print_json(to_json(report, !flags.options.leaves_gold_out));
  } else {
    print_text(report, flags.options.reads, !flags.options.leaves_gold_out);
  }
}

void add_eval_qa(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *eval.add_subcommand("qa", "Questions with known documents and answers; BM25 beside it");
  command
      .add_option("SET_DIR", flags->set,
                  "Folder with documents.jsonl and questions.jsonl (also .zst)")
      ->required();
  CLI::Option* extra = add_flag(command, "--extra", flags->extra,
                                "Documents among which those of the set are hidden");
  command
      .add_option("--num-extra", flags->options.num_extra,
                  "So many of them, drawn with a fixed seed (default: all)")
      ->envname("MSA_NUM_EXTRA")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000}))
      ->needs(extra);
  CLI::Option* without = command.add_flag(
      "--without-gold", flags->options.leaves_gold_out,
      "The documents of the questions and copies of their texts are not in memory: "
      "how often does the model say that it does not know?");
  without->needs(extra);
  command.add_option("--questions", flags->options.questions,
                     "The first N, or a file of question ids");
  add_flag(command, "--work", flags->work,
           "Folder for the bank, kept and used again (default: temporary)");
  command.add_option("--output", flags->output, "One JSON line a question");
  command.add_flag("--routing-only", flags->routes_only, "Recall alone: nothing is read")
      ->excludes(without);
  add_decline_flag(command, flags->options.ask.decline_from);
  flags->types.add_to(command);
  flags->model.add_to(command);
  flags->model.add_weights_to(command);
  command.add_flag("--json", flags->is_json, "Print the report as JSON");
  command.footer(
      "Example: msa eval qa sets/trivia --extra wiki.jsonl.zst --num-extra 10000 --questions 500");
  command.callback([flags] { run(*flags); });
}

}  // namespace

OrderedJson recall_json(const eval::Recall& recall) {
  return {{"at_1", recall.at_1}, {"at_16", recall.at_16}};
}

OrderedJson layers_json(const std::vector<eval::LayerRecall>& layers) {
  OrderedJson list = OrderedJson::array();
  for (const auto& layer : layers) {
    list.push_back({{"layer", layer.layer}, {"recall", recall_json(layer.recall)}});
  }
  return list;
}

void print_recall(const std::string& name, const eval::Recall& recall) {
  std::printf("%-28s %.3f   %.3f\n", name.c_str(), recall.at_1, recall.at_16);
}

void print_routing(const eval::Recall& fused, const std::vector<eval::LayerRecall>& layers,
                   double any_layer_at_16) {
  std::printf("%-28s %s\n", "recall", "@1      @16");
  print_recall("routing, mean of layers", fused);
  for (const auto& layer : layers) {
    print_recall("routing, layer " + std::to_string(layer.layer), layer.recall);
  }
  std::printf("%-28s         %.3f\n", "chosen by any layer", any_layer_at_16);
}

OrderedJson reading_json(const eval::Reading& reading) {
  return {{"exact_match", reading.exact}, {"f1", reading.f1}};
}

void add_eval(CLI::App& app) {
  CLI::App& eval = *app.add_subcommand("eval", "How good routing, naming and reading are");
  eval.require_subcommand(1);
  add_eval_qa(eval);
  add_eval_bank(eval);
  add_eval_text(eval);
}

}  // namespace msa::cli
