// msa bench tokenize: text to tokens on one thread.

#include <cstdio>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/corpus/line_reader.h"
#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"

namespace msa::cli {
namespace {

struct Flags {
  BenchFlags bench;
  std::string folder;
  std::string file;
};

void run(const Flags& flags) {
  const auto tokenizer = text::Tokenizer::load(real_file_system(), flags.folder);
  const std::string text = corpus::LineReader(real_file_system(), flags.file).rest();
  MSA_CHECK(!text.empty(), flags.file, " is empty: there is nothing to time");
  const auto ids = tokenizer->encode(text);
  const std::string decoded = tokenizer->decode(ids);
  if (decoded != text && decoded != text::normalize_nfc(text).text) {
    throw Error(ErrorCode::kInternal, "wrong result: the ", ids.size(),
                " tokens give back neither the text nor its NFC");
  }
  const Times times = time_runs(flags.bench, [&] { tokenizer->encode(text); });
  const auto rate = [&](double seconds) {
    return static_cast<double>(text.size()) / seconds / 1e6;
  };
  if (flags.bench.is_json) {
    print_json({{"stage", "tokenize"},
                {"threads", 1},
                {"bytes", text.size()},
                {"tokens", ids.size()},
                {"megabytes_per_second", rate(times.median)},
                {"slowest", rate(times.worst)},
                {"fastest", rate(times.best)}});
  } else {
    std::printf(
        "tokenize, 1 thread: %.1f MB/s median, %.1f slowest, %.1f fastest; %.2f bytes a token\n",
        rate(times.median), rate(times.worst), rate(times.best),
        static_cast<double>(text.size()) / static_cast<double>(ids.size()));
  }
}

}  // namespace

void add_bench_tokenize(CLI::App& bench) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *bench.add_subcommand("tokenize", "Megabytes per second of one thread");
  add_flag(command, "--model", flags->folder, "Folder with a tokenizer")->required();
  command.add_option("FILE", flags->file, "Text, also .zst")->required();
  flags->bench.add_to(command);
  command.footer("Example: msa bench tokenize --model models/msa-tiny book.txt");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
