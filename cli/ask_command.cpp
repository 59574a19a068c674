// msa ask, msa chat, msa route: questions to a bank.

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/answer_json.h"
#include "cli/opened_bank.h"
#include "cli/stop_signals.h"
#include "msa/base/error.h"
#include "msa/corpus/document_reader.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  std::string bank;
  std::string question;
  std::string questions_file;
  std::string output_file;
  std::string ids = "fused";
  engine::AskOptions options;
  memory::GpuSourceOptions gpu;
  std::vector<std::string> where;
  std::string key_file;
  int64_t top = 16;
  bool is_json = false;
  bool shows_trace = false;
};

void add_ask_flags(CLI::App& command, Flags& flags) {
  flags.model.add_to(command);
  flags.model.add_weights_to(command);
  add_placement_flags(command, flags.gpu);
  add_where_flag(command, flags.where);
  add_key_flag(command, flags.key_file);
  add_flag(command, "--ids", flags.ids, "How ids are written: fused, constrained or free")
      ->check(CLI::IsMember({"fused", "constrained", "free"}));
  add_flag(command, "--routing-weight", flags.options.routing_weight,
           "Weight of the routing score (fused)");
  add_flag(command, "--max-rounds", flags.options.max_rounds, "Retrieval rounds at most");
  add_flag(command, "--max-documents", flags.options.max_documents_per_round,
           "Documents a round at most");
  add_flag(command, "--max-answer-tokens", flags.options.max_answer_tokens,
           "Length of the answer at most");
  add_flag(command, "--temperature", flags.options.temperature, "0 = the most probable answer");
  add_flag(command, "--top-p", flags.options.top_p, "Sample from this share of the probability");
  add_flag(command, "--seed", flags.options.seed, "Of the sampler");
  add_decline_flag(command, flags.options.decline_from);
  add_flag(command, "--read", flags.options.given_passages,
           "Read these passages (ids, joined by commas) in place of retrieving")
      ->delimiter(',')
      ->allow_extra_args(false);
}

engine::AskOptions options_of(const Flags& flags) {
  engine::AskOptions options = flags.options;
  options.ids = flags.ids == "free"          ? engine::IdDecoding::kFree
                : flags.ids == "constrained" ? engine::IdDecoding::kConstrained
                                             : engine::IdDecoding::kFused;
  engine::expect_valid(options);
  return options;
}

OpenedBank open(const Flags& flags) {
  return open_bank(flags.model, flags.bank, flags.key_file,
                   {.gpu = flags.gpu, .filter = memory::DocumentFilter(flags.where)});
}

/// Errors of one question, or of one document that it needs; the others can still be answered.
bool is_of_question(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kCorruption ||
         code == ErrorCode::kLimit;
}

/// One line out for every line in; a question that fails gives a line with the error.
void ask_many(const Flags& flags) {
  MSA_CHECK(!flags.output_file.empty(), "--questions needs --output FILE.jsonl");
  std::error_code ignored;
  MSA_CHECK(!std::filesystem::equivalent(flags.questions_file, flags.output_file, ignored),
            "--output must not be the file of --questions, got ", flags.output_file);
  const auto questions = corpus::read_questions(real_file_system(), flags.questions_file);
  OpenedBank opened = open(flags);
  const engine::AskOptions options = options_of(flags);
  const StopAsked stop = stop_in_order();
  std::ofstream out(flags.output_file, std::ios::binary | std::ios::trunc);
  if (!out) throw Error(ErrorCode::kIo, "cannot write ", flags.output_file);
  const auto start = std::chrono::steady_clock::now();
  auto last = start;
  int64_t failed = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    if (stop()) throw Error(ErrorCode::kInterrupted, "stopped after ", i, " questions");
    OrderedJson line = OrderedJson::object();
    if (!questions[i].id.empty()) line["id"] = questions[i].id;
    try {
      line.update(to_json(opened.ask(questions[i].text, options)));
    } catch (const Error& error) {
      if (!is_of_question(error.code())) throw;
      ++failed;
      line["question"] = questions[i].text;
      line["error"] = {{"code", error_code_name(error.code())}, {"message", error.what()}};
    }
    out << to_line(line) << '\n';
    errno = 0;
    if (!out.flush()) {
      throw Error(errno == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo, "cannot write ",
                  flags.output_file);
    }
    const auto now = std::chrono::steady_clock::now();
    if (now - last > std::chrono::seconds(1) || i + 1 == questions.size()) {
      last = now;
      const double seconds = std::chrono::duration<double>(now - start).count();
      const double rate = static_cast<double>(i + 1) / seconds;
      std::fprintf(stderr, "%s%zu of %zu questions, %.1f a second, %.0f s left%s",
                   has_terminal() ? "\r" : "", i + 1, questions.size(), rate,
                   static_cast<double>(questions.size() - i - 1) / rate,
                   has_terminal() ? "\033[K" : "\n");
    }
  }
  if (has_terminal()) std::fputs("\n", stderr);
  if (failed > 0)
    std::fprintf(stderr, "msa: %lld questions failed\n", static_cast<long long>(failed));
}

void ask(const Flags& flags) {
  if (!flags.questions_file.empty()) {
    MSA_CHECK(flags.question.empty(), "give a question or --questions, not both");
    ask_many(flags);
    return;
  }
  MSA_CHECK(!flags.question.empty(), "a question is missing: msa ask BANK \"question\"");
  OpenedBank opened = open(flags);
  const auto answer = opened.ask(flags.question, options_of(flags));
  if (flags.is_json) {
    print_json(to_json(answer));
  } else {
    print(to_text(answer, flags.shows_trace));
  }
}

/// Lines from stdin; every one is a question of its own.
void chat(const Flags& flags) {
  const StopAsked stop = stop_in_order();
  OpenedBank opened = open(flags);
  const engine::AskOptions options = options_of(flags);
  const bool is_person = isatty(STDIN_FILENO) != 0;
  bool shows_trace = flags.shows_trace;
  if (is_person) {
    const auto stats = opened.engine->bank().stats();
    std::printf("%lld documents. Ask, or /trace /help /quit.\n",
                static_cast<long long>(stats.documents));
  }
  LineReader lines;
  for (std::string line;;) {
    if (is_person) std::fputs("> ", stdout);
    std::fflush(stdout);
    if (!lines.next(line) || line == "/quit") break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line == "/trace") {
      shows_trace = !shows_trace;
      std::printf("trace %s\n", shows_trace ? "on" : "off");
      continue;
    }
    if (line.front() == '/') {
      std::printf(
          "/trace  show or hide how documents were found\n/quit   leave\n"
          "Each line is a question of its own: earlier ones are not remembered.\n");
      continue;
    }
    try {
      if (flags.is_json) {
        print_json(to_json(opened.ask(line, options)));
        continue;
      }
      const auto answer = opened.ask(line, options, [](std::string_view text) {
        print(text);
        std::fflush(stdout);
      });
      // The answer itself has been written already.
      print("\n" + to_text(answer, shows_trace).substr(answer.answer.size() + 1));
    } catch (const Error& error) {
      if (!is_of_question(error.code())) throw;
      std::printf("msa: %s\n", error.what());
    }
  }
  if (stop()) throw Error(ErrorCode::kInterrupted, "stopped");
}

void route(const Flags& flags) {
  const OpenedBank opened = open(flags);
  const auto result = opened.engine->route(flags.question, flags.top);
  if (flags.is_json) {
    print_json(to_json(result));
    return;
  }
  for (const auto& document : result.documents) {
    std::printf("%8.4f  [%lld] %s\n", static_cast<double>(document.score),
                static_cast<long long>(document.id), document.name.c_str());
  }
}

}  // namespace

void add_ask(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *app.add_subcommand("ask", "Answer a question, or a file of them, from a bank");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command.add_option("QUESTION", flags->question, "The question");
  command.add_option("--questions", flags->questions_file,
                     "jsonl of {\"question\"}, one answer a line to --output");
  command.add_option("--output", flags->output_file, "Where the answers of --questions go");
  add_ask_flags(command, *flags);
  command.add_flag("--json", flags->is_json, "Print the whole answer object");
  command.add_flag("--trace", flags->shows_trace, "Show how documents were found");
  command.footer("Example: msa ask notes.bank \"who wrote the handbook?\" --trace");
  command.callback([flags] { ask(*flags); });
}

void add_chat(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand("chat", "Ask a bank line by line");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  add_ask_flags(command, *flags);
  command.add_flag("--trace", flags->shows_trace, "Show how documents were found");
  command.add_flag("--json", flags->is_json, "Print a whole answer object for every line");
  command.footer("Example: msa chat notes.bank");
  command.callback([flags] { chat(*flags); });
}

void add_route(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *app.add_subcommand("route", "Documents for a question, with scores; nothing is written");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command.add_option("QUESTION", flags->question, "The question")->required();
  flags->model.add_to(command);
  add_placement_flags(command, flags->gpu);
  add_where_flag(command, flags->where);
  add_key_flag(command, flags->key_file);
  add_flag(command, "--top", flags->top, "Documents to list");
  command.add_flag("--json", flags->is_json, "Print documents and every layer's choice");
  command.footer("Example: msa route notes.bank \"who wrote the handbook?\" --top 5");
  command.callback([flags] { route(*flags); });
}

}  // namespace msa::cli
