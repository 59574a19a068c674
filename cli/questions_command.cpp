// msa questions: questions made of documents by rules, as a set that msa eval qa and msa train
// take.

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/samples/chain_maker.h"
#include "msa/samples/question_maker.h"
#include "msa/samples/random.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"
#include "msa/text/tokenizer.h"

namespace msa::cli {
namespace {

using samples::ChainMaker;
using samples::MadeKind;
using samples::TrainCorpus;

// A document is one passage, however long: gold is named by documents.
constexpr int64_t kMaxDocumentTokens = int64_t{1} << 40;

constexpr std::array<std::pair<std::string_view, MadeKind>, 5> kKinds{{{"span", MadeKind::kSpan},
                                                                       {"words", MadeKind::kWords},
                                                                       {"title", MadeKind::kTitle},
                                                                       {"cloze", MadeKind::kCloze},
                                                                       {"fact", MadeKind::kFact}}};

struct Flags {
  ModelFlags model;  // its folder alone
  std::filesystem::path documents;
  std::filesystem::path out;
  std::string kind = "fact";
  int64_t count = 500;
  uint64_t seed = 1;
};

struct Asked {
  std::string question;
  std::string answer;  // empty: none is known
  std::vector<int32_t> documents;
};

std::optional<Asked> ask(const TrainCorpus& corpus, const ChainMaker& chains,
                         const std::string& kind, int32_t document, samples::Random& random) {
  if (kind == "chain") {
    if (!chains.is_for_evaluation(document)) return std::nullopt;
    auto chain = chains.make(document, random);
    if (!chain) return std::nullopt;
    return Asked{chain->text, chain->answer, {chain->first, chain->second}};
  }
  const auto* const found = std::ranges::find(kKinds, std::string_view(kind),
                                              &std::pair<std::string_view, MadeKind>::first);
  MSA_CHECK(found != kKinds.end(), "no questions are of the kind ", kind);
  auto made =
      samples::make_question(found->second, corpus.title(document), corpus.text(document), random);
  if (!made) return std::nullopt;
  return Asked{made->text, made->answer, {document}};
}

/// Of documents in an order drawn at random, each asked at most once.
std::vector<Asked> ask_all(const TrainCorpus& corpus, const Flags& flags) {
  const auto is_first = [&](int32_t document) { return !corpus.is_repeated(document); };
  const ChainMaker chains(corpus, is_first);
  std::vector<int32_t> order;
  for (int64_t i = 0; i < corpus.num_documents(); ++i) order.push_back(static_cast<int32_t>(i));
  samples::Random shuffle(flags.seed, {});
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[shuffle.below(i)]);
  std::vector<Asked> asked;
  for (const int32_t document : order) {
    if (static_cast<int64_t>(asked.size()) == flags.count) break;
    samples::Random random(flags.seed, {static_cast<uint64_t>(document)});
    if (!is_first(document)) continue;
    if (auto made = ask(corpus, chains, flags.kind, document, random)) {
      asked.push_back(std::move(*made));
    }
  }
  return asked;
}

std::string documents_text(const TrainCorpus& corpus, const std::vector<Asked>& asked) {
  std::string text;
  std::set<std::string_view> written;
  for (const Asked& one : asked) {
    for (const int32_t document : one.documents) {
      if (!written.insert(corpus.document_name(document)).second) continue;
      text += to_line(OrderedJson{{"id", corpus.document_name(document)},
                                  {"title", corpus.title(document)},
                                  {"text", corpus.text(document)}}) +
              "\n";
    }
  }
  return text;
}

std::string questions_text(const TrainCorpus& corpus, const std::string& kind,
                           const std::vector<Asked>& asked) {
  std::string text;
  for (const Asked& one : asked) {
    OrderedJson names = OrderedJson::array();
    for (const int32_t document : one.documents) names.push_back(corpus.document_name(document));
    OrderedJson answers = OrderedJson::array();
    if (!one.answer.empty()) answers.push_back(one.answer);
    text += to_line(OrderedJson{
                {"id", kind + "-" + std::string(corpus.document_name(one.documents[0]))},
                {"question", one.question},
                {"answers", std::move(answers)},
                {"documents", std::move(names)}}) +
            "\n";
  }
  return text;
}

/// A folder beside the one to make, which goes if that is not made.
struct PartialFolder {
  std::filesystem::path path;

  explicit PartialFolder(std::filesystem::path out) : path(std::move(out += ".tmp")) {
    std::filesystem::remove_all(path);
    real_file_system().create_directory(path);
  }
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;
  ~PartialFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

void run(const Flags& flags) {
  FileSystem& files = real_file_system();
  const std::filesystem::path out = (flags.out / "").lexically_normal().parent_path();
  MSA_CHECK(!files.exists(out), out.string(), " is there already");
  const auto tokenizer = text::Tokenizer::load(files, flags.model.model_folder());
  const text::PromptLayout layout(*tokenizer, 16);
  const PartialFolder partial(out);
  samples::TrainCorpusOptions options;
  options.sources = {{.name = "documents", .documents = flags.documents, .questions = {}}};
  options.cache = partial.path / "cache";
  options.max_document_tokens = kMaxDocumentTokens;
  const auto corpus = TrainCorpus::open(files, layout, options);
  const std::vector<Asked> asked = ask_all(*corpus, flags);
  std::filesystem::remove_all(options.cache);
  MSA_CHECK(!asked.empty(), flags.documents.string(), ": no document gives a question of the kind ",
            flags.kind);
  const std::string documents = documents_text(*corpus, asked);
  const std::string questions = questions_text(*corpus, flags.kind, asked);
  write_file_atomically(files, partial.path / "documents.jsonl",
                        std::as_bytes(std::span(documents)));
  write_file_atomically(files, partial.path / "questions.jsonl",
                        std::as_bytes(std::span(questions)));
  files.rename(partial.path, out);
  files.sync_directory(out.has_parent_path() ? out.parent_path() : ".");
  std::printf("%s: %zu questions, of the kind %s\n", out.string().c_str(), asked.size(),
              flags.kind.c_str());
}

}  // namespace

void add_questions(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *app.add_subcommand(
      "questions", "Questions made of documents by rules, as a set for msa eval qa");
  command.add_option("DOCUMENTS", flags->documents, "jsonl of {id, title, text}, also .zst")
      ->required();
  command.add_option("OUT", flags->out, "Folder to make; nothing may be there")->required();
  add_flag(command, "--kind", flags->kind,
           "fact, cloze, title, words, span; chain: over two documents, never trained as such")
      ->check(CLI::IsMember({"fact", "cloze", "title", "words", "span", "chain"}));
  add_flag(command, "--count", flags->count, "Questions at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
  add_flag(command, "--seed", flags->seed, "Of what is drawn");
  add_flag(command, "--model", flags->model.folder,
           "Folder with a tokenizer (default: the embedded model)");
  command.footer(
      "Example: msa questions documents.jsonl my-questions --kind cloze --count 200\n"
      "         msa eval qa my-questions --extra documents.jsonl");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
