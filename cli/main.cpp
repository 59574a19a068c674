// The program msa: subcommands, exit codes, signals.

#include <malloc.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/stop_signals.h"
#include "cli/unfinished_error.h"
#include "msa/base/error.h"

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 done, 1 internal, 2 usage or invalid value, 3 not found, 4 read or write "
    "failed, 5 disk full,\n"
    "6 damaged data, 7 invalid file, 8 bank and model differ, 9 locked, 10 limit passed, 11 "
    "device, 130 stopped.\n"
    "Every flag with a value, but --questions, --output and --jsonl, has an environment twin: "
    "--model is MSA_MODEL. Example: msa ingest notes.bank "
    "docs/ && msa ask notes.bank \"...\"";

int exit_code(msa::ErrorCode code) {
  switch (code) {
    case msa::ErrorCode::kInvalidArgument:
      return 2;
    case msa::ErrorCode::kNotFound:
      return 3;
    case msa::ErrorCode::kIo:
      return 4;
    case msa::ErrorCode::kNoSpace:
      return 5;
    case msa::ErrorCode::kCorruption:
      return 6;
    case msa::ErrorCode::kInvalidFormat:
      return 7;
    case msa::ErrorCode::kMismatch:
      return 8;
    case msa::ErrorCode::kLocked:
      return 9;
    case msa::ErrorCode::kLimit:
      return 10;
    case msa::ErrorCode::kDevice:
      return 11;
    case msa::ErrorCode::kInterrupted:
      return 130;
    case msa::ErrorCode::kInternal:
      return 1;
  }
  return 1;
}

int fail(bool is_json, msa::ErrorCode code, const char* message, msa::OrderedJson json = {}) {
  std::fprintf(stderr, "msa: %s\n", message);
  if (is_json) {
    json["error"] = {{"code", msa::error_code_name(code)}, {"message", message}};
    std::puts(msa::to_line(json).c_str());
  }
  return exit_code(code);
}

// The parser takes "[a,b]" for a list of two. A question or a folder may be called so: what stands
// in brackets passes it behind a mark that no argument begins with.
constexpr char kMark = '\x1e';

std::vector<std::string> marked(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) {  // the parser wants them in reverse
    std::string argument = argv[i];
    const bool is_bracketed = argument.starts_with('[') && argument.ends_with(']');
    arguments.push_back(is_bracketed ? kMark + argument : argument);
  }
  return arguments;
}

void unmark_options(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    option->transform(CLI::Validator(
        [](std::string& value) {
          if (value.starts_with(kMark)) value.erase(0, 1);
          return std::string();
        },
        ""));
  }
  for (CLI::App* subcommand : command.get_subcommands([](CLI::App*) { return true; })) {
    unmark_options(*subcommand);
  }
}

}  // namespace

int main(int argc, char** argv) {
  // Tensors of one size are made again and again: keep their memory instead of giving it back each
  // time.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);

  CLI::App app("A language model with a memory of documents: encode once, ask with evidence.",
               "msa");
  app.set_version_flag("--version", "msa 0.1.0");
  app.footer(kFooter);
  app.require_subcommand(1);
  msa::cli::add_ingest(app);
  msa::cli::add_ask(app);
  msa::cli::add_chat(app);
  msa::cli::add_route(app);
  msa::cli::add_bank(app);
  msa::cli::add_forget(app);
  msa::cli::add_compact(app);
  msa::cli::add_backup(app);
  msa::cli::add_restore(app);
  msa::cli::add_export(app);
  msa::cli::add_tokenize(app);
  msa::cli::add_info(app);
  msa::cli::add_eval(app);
  msa::cli::add_bench(app);
  msa::cli::add_train(app);
  msa::cli::add_convert(app);
  msa::cli::add_questions(app);
  msa::cli::add_completion(app);
  bool is_json = false;
  for (int i = 1; i < argc; ++i) is_json |= std::string(argv[i]) == "--json";
  try {
    msa::cli::receive_stop_signals();
    unmark_options(app);
    app.parse(marked(argc, argv));
    msa::cli::expect_written();
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const std::string message = std::string(error.what()) + " (--help tells more)";
    return fail(is_json, msa::ErrorCode::kInvalidArgument, message.c_str());
  } catch (const msa::cli::UnfinishedError& error) {
    return fail(is_json, error.code(), error.what(), error.done());
  } catch (const msa::Error& error) {
    return fail(is_json, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(is_json, msa::ErrorCode::kLimit, "out of memory");
  } catch (const std::exception& error) {
    return fail(is_json, msa::ErrorCode::kInternal, error.what());
  }
}
