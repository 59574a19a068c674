// msa export: the documents of a bank as jsonl, which msa ingest reads.

#include <cstdio>
#include <functional>
#include <span>
#include <string_view>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/memory/export_bank.h"

namespace msa::cli {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

struct Flags {
  std::string bank;
  std::string out;
};

/// Returns how many documents are damaged, each of which stderr names.
int64_t write_lines(const memory::Bank& bank, const std::function<void(std::string_view)>& write) {
  int64_t damaged = 0;
  std::string buffer;
  memory::export_documents(
      bank,
      [&](std::string_view line) {
        buffer.append(line) += '\n';
        if (buffer.size() < kBufferBytes) return;
        write(buffer);
        buffer.clear();
      },
      [&](const Error& error) {
        ++damaged;
        std::fprintf(stderr, "msa: %s\n", error.what());
      });
  write(buffer);
  return damaged;
}

void run(const Flags& flags) {
  const auto bank = memory::Bank::open(real_file_system(), flags.bank);
  int64_t damaged = 0;
  if (flags.out.empty()) {
    damaged = write_lines(*bank, [](std::string_view lines) {
      print(lines);
      expect_written();
    });
  } else {
    write_file_atomically(real_file_system(), flags.out, [&](File& file) {
      damaged = write_lines(*bank, [&](std::string_view lines) {
        if (!lines.empty()) file.append(std::as_bytes(std::span(lines)));
      });
    });
  }
  if (damaged > 0) {
    throw Error(ErrorCode::kCorruption, flags.bank, ": ", damaged, " documents are damaged");
  }
}

}  // namespace

void add_export(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand("export", "Write the documents of a bank as jsonl");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command.add_option("--out,--output", flags->out,
                     "File to write, whole or not at all (default: stdout)");
  command.footer("Example: msa export notes.bank | zstd -o notes.jsonl.zst");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
