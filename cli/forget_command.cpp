// msa forget, msa compact: documents out of a bank, and their bytes out of its files.

#include <cstdio>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/memory/bank_writer.h"

namespace msa::cli {
namespace {

struct Flags {
  std::string bank;
  std::vector<std::string> names;
  std::vector<std::string> where;
  std::string key_file;
  bool purges = false;
  bool is_json = false;
};

void forget(const Flags& flags) {
  MSA_CHECK(flags.names.empty() != flags.where.empty(),
            "give names of documents or --where, one of both");
  const memory::DocumentFilter filter(flags.where);
  const auto files = files_of(flags.bank, flags.key_file);
  const auto writer = memory::BankWriter::open_existing(*files, flags.bank);
  const memory::Forgotten done =
      filter.is_empty() ? writer->forget(flags.names) : writer->forget_where(filter);
  for (const std::string& name : done.unknown) {
    std::fprintf(stderr, "msa: %s holds no document \"%s\"\n", flags.bank.c_str(), name.c_str());
  }
  if (done.documents == 0) {
    throw Error(ErrorCode::kNotFound, flags.bank, " holds no such document");
  }
  if (flags.is_json) {
    print_json({{"bank", flags.bank}, {"documents", done.documents}, {"unknown", done.unknown}});
  } else {
    std::printf("%lld documents forgotten\n", static_cast<long long>(done.documents));
  }
}

void compact(const Flags& flags) {
  const auto files = files_of(flags.bank, flags.key_file);
  const auto writer = memory::BankWriter::open_existing(*files, flags.bank);
  const memory::Compacted done = writer->compact(flags.purges);
  if (flags.is_json) {
    print_json({{"bank", flags.bank},
                {"purged", flags.purges},
                {"segments", done.segments},
                {"removed_bytes", done.removed_bytes},
                {"retained_files", done.retained_files},
                {"retained_bytes", done.retained_bytes}});
    return;
  }
  std::printf("%lld segments written anew, %lld bytes given back",
              static_cast<long long>(done.segments), static_cast<long long>(done.removed_bytes));
  if (done.retained_files > 0) {
    std::printf("; %lld files of %lld bytes stay until their readers end",
                static_cast<long long>(done.retained_files),
                static_cast<long long>(done.retained_bytes));
  }
  std::printf("\n");
}

}  // namespace

void add_forget(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand("forget", "Delete documents from a bank");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command.add_option("NAME", flags->names, "Names of documents");
  add_where_flag(command, flags->where);
  command.add_flag("--json", flags->is_json, "Print JSON");
  add_key_flag(command, flags->key_file);
  command.footer("Example: msa forget notes.bank handbook.md && msa compact notes.bank --purge");
  command.callback([flags] { forget(*flags); });
}

void add_compact(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand("compact", "Give back the space of deleted documents");
  command.add_option("BANK", flags->bank, "Folder of the bank")->required();
  command.add_flag("--purge", flags->purges,
                   "Leave no byte of a deleted document in any file of the bank");
  command.add_flag("--json", flags->is_json, "Print JSON");
  add_key_flag(command, flags->key_file);
  command.footer("Example: msa compact notes.bank --purge");
  command.callback([flags] { compact(*flags); });
}

}  // namespace msa::cli
