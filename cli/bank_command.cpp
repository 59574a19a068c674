// msa bank: what is in a bank, and whether it is whole.

#include <cstdio>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_layout.h"

namespace msa::cli {
namespace {

constexpr int64_t kMaxDocuments = int64_t{1} << 40;

struct Flags {
  std::string bank;
  std::string document;
  std::vector<std::string> where;
  std::string key_file;
  int64_t offset = 0;
  int64_t limit = 100;
  bool is_json = false;
};

OrderedJson passages_json(const memory::Document& document) {
  OrderedJson passages = OrderedJson::array();
  for (const auto& passage : document.passages) {
    passages.push_back({{"id", passage.id},
                        {"start", passage.start},
                        {"end", passage.end},
                        {"tokens", passage.tokens},
                        {"chunks", passage.chunks}});
  }
  return passages;
}

void list(const Flags& flags) {
  const auto files = files_of(flags.bank, flags.key_file);
  const auto bank = memory::Bank::open(*files, flags.bank, memory::DocumentFilter(flags.where));
  const auto documents = bank->list(flags.offset, flags.limit);
  for (const auto& document : documents) {
    if (flags.is_json) {
      print(to_line(OrderedJson{{"name", document.name},
                                {"title", document.title},
                                {"source", document.source},
                                {"passages", passages_json(document)}}) +
            "\n");
      continue;
    }
    const size_t more = document.passages.size() - 1;
    print("[" + std::to_string(document.passages.front().id) + "]" +
          (more > 0 ? " +" + std::to_string(more) : "") + "  " + document.name + "  " +
          document.title + "\n");
  }
  expect_written();
  const int64_t total = bank->stats().documents;
  const int64_t end = flags.offset + static_cast<int64_t>(documents.size());
  if (end < total) {
    std::fprintf(stderr, "%zu of %lld documents; --offset %lld goes on\n", documents.size(),
                 static_cast<long long>(total), static_cast<long long>(end));
  }
}

void show_stats(const Flags& flags) {
  const auto files = files_of(flags.bank, flags.key_file);
  const auto bank = memory::Bank::open(*files, flags.bank);
  const auto stats = bank->stats();
  const auto& facts = bank->facts();
  const int64_t key_bytes = stats.chunks * facts.shape.num_layers * facts.shape.key_dim() *
                            kernels::bytes_of(facts.key_type);
  const int64_t content_bytes =
      stats.chunks * facts.shape.num_layers * memory::content_chunk_bytes(facts);
  const OrderedJson json{{"documents", stats.documents},
                         {"passages", stats.passages},
                         {"chunks", stats.chunks},
                         {"tokens", stats.tokens},
                         {"bytes", stats.bytes},
                         {"live_bytes", stats.live_bytes},
                         {"dead_bytes", stats.dead_bytes},
                         {"segments", stats.segments},
                         {"format", bank->format()},
                         {"routing_key_bytes", key_bytes},
                         {"content_bytes", content_bytes},
                         {"model",
                          {{"name", facts.model_name},
                           {"fingerprint", facts.model_fingerprint},
                           {"tokenizer_fingerprint", facts.tokenizer_fingerprint}}},
                         {"precision",
                          {{"keys", kernels::name_of(facts.key_type)},
                           {"content", kernels::name_of(facts.content_type)}}},
                         {"router_layers", facts.shape.num_layers},
                         {"chunk_tokens", facts.shape.chunk_tokens},
                         {"max_passage_tokens", facts.max_passage_tokens}};
  if (flags.is_json) {
    print_json(json);
    return;
  }
  for (const auto& [key, value] : json.items()) {
    std::printf("%-20s %s\n", key.c_str(),
                value.is_string() ? value.get<std::string>().c_str() : to_line(value).c_str());
  }
}

void show_document(const Flags& flags) {
  const auto files = files_of(flags.bank, flags.key_file);
  const auto bank = memory::Bank::open(*files, flags.bank);
  auto document = bank->find(flags.document);
  if (!document && flags.document.find_first_not_of("0123456789") == std::string::npos &&
      flags.document.size() < 19) {
    if (const auto place = bank->place_of(std::stoll(flags.document))) {
      document = bank->document_of(bank->passages()[*place]);
    }
  }
  if (!document) {
    throw Error(ErrorCode::kNotFound, flags.bank, " has no document or passage \"", flags.document,
                "\"");
  }
  if (flags.is_json) {
    print_json({{"name", document->name},
                {"title", document->title},
                {"source", document->source},
                {"attributes", Json::parse(document->attributes)},
                {"passages", passages_json(*document)},
                {"text", document->text}});
    return;
  }
  print(document->name + "\n" + document->title + "\nfrom " + document->source + "\n");
  for (const auto& passage : document->passages) {
    std::printf("[%lld] bytes %lld-%lld, %lld tokens, %lld chunks\n",
                static_cast<long long>(passage.id), static_cast<long long>(passage.start),
                static_cast<long long>(passage.end), static_cast<long long>(passage.tokens),
                static_cast<long long>(passage.chunks));
  }
  print("\n" + document->text + "\n");
}

void verify(const Flags& flags) {
  const auto files = files_of(flags.bank, flags.key_file);
  const auto problems = memory::verify_bank(*files, flags.bank);
  OrderedJson list = OrderedJson::array();
  for (const auto& problem : problems) {
    list.push_back({{"file", problem.file},
                    {"offset", problem.offset},
                    {"document", problem.document},
                    {"what", problem.what}});
    if (!flags.is_json) print(to_text(problem) + "\n");
  }
  if (flags.is_json) print_json({{"ok", problems.empty()}, {"problems", std::move(list)}});
  if (!problems.empty()) {
    throw Error(ErrorCode::kCorruption, flags.bank, ": ", problems.size(), " problems found");
  }
  if (!flags.is_json) std::printf("%s is as it was written\n", flags.bank.c_str());
}

}  // namespace

void add_bank(CLI::App& app) {
  CLI::App& bank = *app.add_subcommand("bank", "What is in a bank");
  bank.require_subcommand(1);
  bank.footer("Example: msa bank stat notes.bank --json");
  const auto add = [&](const char* name, const char* help, void (*run)(const Flags&),
                       const char* example) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command = *bank.add_subcommand(name, help);
    command.add_option("BANK", flags->bank, "Folder of the bank")->required();
    command.add_flag("--json", flags->is_json, "Print JSON");
    add_key_flag(command, flags->key_file);
    command.footer(example);
    command.callback([flags, run] { run(*flags); });
    return std::pair{&command, flags};
  };
  const auto [ls, ls_flags] =
      add("ls", "List documents", list, "Example: msa bank ls notes.bank --offset 100 --limit 50");
  add_where_flag(*ls, ls_flags->where);
  add_flag(*ls, "--offset", ls_flags->offset, "Documents to leave out")
      ->check(CLI::Range(int64_t{0}, kMaxDocuments));
  add_flag(*ls, "--limit", ls_flags->limit, "Documents to list")
      ->check(CLI::Range(int64_t{1}, kMaxDocuments));
  add("stat", "Counts, sizes, model and precision", show_stats,
      "Example: msa bank stat notes.bank --json");
  const auto [show, show_flags] = add("show", "One document: text and passages", show_document,
                                      "Example: msa bank show notes.bank handbook.md");
  show->add_option("DOCUMENT", show_flags->document, "Name, or id of a passage")->required();
  add("verify", "Read every byte and compare digests", verify,
      "Example: msa bank verify notes.bank");
}

}  // namespace msa::cli
