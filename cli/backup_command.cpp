// msa backup, msa restore: copies of a bank, and banks from copies.

#include <cstdio>

#include "cli/command.h"
#include "msa/memory/copy_bank.h"

namespace msa::cli {
namespace {

struct Flags {
  std::string from;
  std::string to;
  bool is_json = false;
};

void print_copy(const Flags& flags, const memory::BankCopy& copy) {
  if (flags.is_json) {
    print_json({{"from", flags.from},
                {"to", flags.to},
                {"documents", copy.documents},
                {"segments", copy.segments},
                {"bytes", copy.bytes},
                {"copied_segments", copy.copied_segments},
                {"copied_bytes", copy.copied_bytes},
                {"removed_files", copy.removed_files}});
    return;
  }
  const auto n = [](int64_t number) { return static_cast<long long>(number); };
  std::printf("%s holds %lld documents in %lld segments, %lld bytes", flags.to.c_str(),
              n(copy.documents), n(copy.segments), n(copy.bytes));
  if (copy.copied_segments < copy.segments) {
    std::printf("; %lld segments were there", n(copy.segments - copy.copied_segments));
  }
  std::printf("; %lld bytes copied\n", n(copy.copied_bytes));
}

using Copy = memory::BankCopy (*)(FileSystem& files, const std::filesystem::path& from,
                                  const std::filesystem::path& to);

void add(CLI::App& app, Copy copy, const char* name, const char* help, const char* from,
         const char* to) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand(name, help);
  command.add_option(from, flags->from, "Folder that is copied")->required();
  command.add_option(to, flags->to, "Folder that the copy is made in; the one above it must exist")
      ->required();
  command.add_flag("--json", flags->is_json, "Print JSON");
  command.footer(
      "Example: msa backup notes.bank /backups/notes && msa restore /backups/notes new.bank");
  command.callback(
      [flags, copy] { print_copy(*flags, copy(real_file_system(), flags->from, flags->to)); });
}

}  // namespace

void add_backup(CLI::App& app) {
  add(app, memory::back_up_bank, "backup",
      "Copy a bank while others read and write it; again: what has changed", "BANK", "TARGET");
}

void add_restore(CLI::App& app) {
  add(app, memory::restore_bank, "restore", "Make a bank from a backup, every byte checked",
      "BACKUP", "BANK");
}

}  // namespace msa::cli
