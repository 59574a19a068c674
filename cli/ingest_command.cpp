// msa ingest: documents into a bank.

#include <chrono>
#include <cstdio>
#include <iomanip>
#include <map>
#include <new>
#include <optional>
#include <sstream>

#include "cli/command.h"
#include "cli/stop_signals.h"
#include "cli/unfinished_error.h"
#include "msa/engine/ingest.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  std::string bank;
  std::vector<std::string> paths;
  BankTypeFlags types;
  std::string key_file;
  engine::IngestOptions options;
  bool is_json = false;
};

/// A bar that overwrites itself on a terminal, else a line a second.
class ProgressLine {
 public:
  void show(const engine::IngestProgress& p) {
    const auto now = std::chrono::steady_clock::now();
    const bool is_terminal = has_terminal();
    const auto pause = std::chrono::milliseconds(is_terminal ? 100 : 1000);
    if (now - last_ < pause) return;
    last_ = now;
    const double done = p.input_bytes == 0 ? 1.0
                                           : static_cast<double>(p.input_bytes_read) /
                                                 static_cast<double>(p.input_bytes);
    const double left = done > 0 ? p.seconds * (1 - done) / done : 0;
    char bar[31] = {};
    for (int i = 0; i < 30; ++i) bar[i] = i < static_cast<int>(done * 30) ? '#' : '.';
    std::fprintf(stderr,
                 "%s[%s] %3.0f%%  %lld documents, %lld tokens, %.0f tokens/s, %.0f s left%s",
                 is_terminal ? "\r" : "", bar, done * 100, static_cast<long long>(p.documents),
                 static_cast<long long>(p.tokens), static_cast<double>(p.tokens) / p.seconds, left,
                 is_terminal ? "\033[K" : "\n");
    is_open_ = is_terminal;
  }
  void close() {
    if (is_open_) std::fputs("\n", stderr);
    is_open_ = false;
  }

 private:
  std::chrono::steady_clock::time_point last_{};
  bool is_open_ = false;
};

OrderedJson to_json(const std::string& bank, const engine::IngestProgress& done, double rate,
                    const std::map<ErrorCode, int64_t>& failed) {
  OrderedJson by_code = OrderedJson::object();
  for (const auto& [code, count] : failed) by_code[std::string(error_code_name(code))] = count;
  return {{"bank", bank},
          {"documents", done.documents},
          {"passages", done.passages},
          {"chunks", done.chunks},
          {"tokens", done.tokens},
          {"replaced", done.replaced},
          {"skipped", done.skipped},
          {"failed", done.failed},
          {"failed_by_code", by_code},
          {"seconds", done.seconds},
          {"tokens_per_second", rate}};
}

std::string to_text(const engine::IngestProgress& done, double rate) {
  std::ostringstream text;
  text << done.documents << " documents in " << done.passages << " passages, " << done.tokens
       << " tokens, " << std::fixed << std::setprecision(1) << done.seconds << " s, "
       << std::setprecision(0) << rate << " tokens/s";
  if (done.replaced > 0) text << "; " << done.replaced << " in place of others";
  if (done.skipped > 0) text << "; " << done.skipped << " there already";
  if (done.failed > 0) text << "; " << done.failed << " not taken";
  return text.str() + "\n";
}

/// What was not taken: a line of text, or of JSON.
void say(const engine::IngestProblem& problem, bool is_json) {
  std::string line = "msa: " + problem.file + ": " + problem.what;
  if (problem.line > 0) {
    line = "msa: " + problem.file + ":" + std::to_string(problem.line) + ": " + problem.what;
  }
  if (is_json) {
    line = to_line(OrderedJson{{"problem",
                                {{"file", problem.file},
                                 {"line", problem.line},
                                 {"code", error_code_name(problem.code)},
                                 {"message", problem.what}}}});
  }
  std::fprintf(stderr, "%s\n", line.c_str());
}

void run(Flags& flags) {
  const StopAsked stop = stop_in_order();
  const auto model = flags.model.load(/*prefers_bf16=*/true);
  const auto files = files_of(flags.bank, flags.key_file, /*may_be_new=*/true);
  ProgressLine line;
  engine::IngestOptions& options = flags.options;
  options.bank = flags.bank;
  options.inputs.assign(flags.paths.begin(), flags.paths.end());
  options.key_type = flags.types.key_type();
  options.content_type = flags.types.content_type();
  options.overlaps = model->gpu() != nullptr;
  options.stop = stop;
  std::optional<engine::IngestProgress> last;
  options.on_progress = [&](const engine::IngestProgress& progress) {
    last = progress;
    line.show(progress);
  };
  std::map<ErrorCode, int64_t> failed;
  options.on_problem = [&](const engine::IngestProblem& problem) {
    line.close();
    ++failed[problem.code];
    say(problem, flags.is_json);
  };
  const auto rate_of = [](const engine::IngestProgress& p) {
    return p.seconds > 0 ? static_cast<double>(p.tokens) / p.seconds : 0;
  };
  const auto report = [&](const engine::IngestProgress& done) {
    line.close();
    if (!flags.is_json) print(to_text(done, rate_of(done)));
    return to_json(flags.bank, done, rate_of(done), failed);
  };
  const auto unfinished = [&](const Error& error) { return UnfinishedError(error, report(*last)); };
  try {
    const OrderedJson done = report(engine::ingest(*files, *model, options));
    if (flags.is_json) print_json(done);
  } catch (const Error& error) {
    line.close();
    if (!last) throw;
    throw unfinished(error);
  } catch (const std::bad_alloc&) {
    line.close();
    if (!last) throw;
    throw unfinished(Error(ErrorCode::kLimit, "out of memory"));
  }
}

}  // namespace

void add_ingest(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand("ingest", "Encode documents into a bank (resumable)");
  command.alias("import");
  command.add_option("BANK", flags->bank, "Folder of the bank; made if it is not there")
      ->required();
  command.add_option("PATH", flags->paths, "Files (.txt .md .jsonl, also .zst) and folders")
      ->required();
  flags->model.add_to(command);
  flags->types.add_to(command);
  add_key_flag(command, flags->key_file);
  add_flag(command, "--max-passage-tokens", flags->options.max_passage_tokens,
           "Longer texts are cut at paragraphs or sentences");
  add_flag(command, "--commit-tokens", flags->options.commit_tokens,
           "A durable commit at least this often; bounds memory");
  command.add_flag("--upsert", flags->options.replaces,
                   "A document replaces the one of its name in the bank, where title, text or "
                   "attributes differ");
  command.add_flag("--json", flags->is_json, "Print the summary as JSON");
  command.footer("Example: msa ingest notes.bank ~/notes handbook.md articles.jsonl.zst");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
