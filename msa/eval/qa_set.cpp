#include "msa/eval/qa_set.h"

#include <algorithm>
#include <set>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/corpus/line_reader.h"

namespace msa::eval {
namespace {

std::filesystem::path either(FileSystem& files, const std::filesystem::path& path) {
  const std::filesystem::path compressed = path.string() + ".zst";
  return files.exists(compressed) ? compressed : path;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 10 &&
         text.find_first_not_of("0123456789") == std::string::npos;
}

void choose_questions(FileSystem& files, const std::string& which,
                      std::vector<corpus::Question>& questions) {
  if (which.empty()) return;
  if (is_number(which)) {
    questions.resize(std::min(questions.size(), static_cast<size_t>(std::stoll(which))));
    return;
  }
  std::set<std::string> wanted;
  corpus::LineReader lines(files, which);
  for (std::string line; lines.next(line);) {
    if (!line.empty()) wanted.insert(line);
  }
  std::erase_if(questions, [&](const corpus::Question& q) { return !wanted.contains(q.id); });
  MSA_CHECK(!questions.empty(), which, " names no question of the set");
}

std::vector<corpus::SourceDocument> read_documents(FileSystem& files,
                                                   const std::filesystem::path& path,
                                                   const StopAsked& stop) {
  corpus::DocumentReader reader(files, {path}, [](const corpus::InputProblem& problem) {
    throw Error(ErrorCode::kInvalidFormat, problem.file, " line ", problem.line, ": ",
                problem.what);
  });
  std::vector<corpus::SourceDocument> documents;
  for (corpus::SourceDocument document; reader.next(document);) {
    if (stop && stop()) {
      throw Error(ErrorCode::kInterrupted, "stopped while ", path.string(), " was read");
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

/// Keeps `count` documents, drawn by a fixed linear congruential order (Knuth's MMIX constants).
void draw(std::vector<corpus::SourceDocument>& documents, int64_t count) {
  uint64_t state = 42;
  for (size_t i = documents.size(); i > 1; --i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    std::swap(documents[i - 1], documents[(state >> 33) % i]);
  }
  documents.resize(std::min(documents.size(), static_cast<size_t>(count)));
}

void expect_distinct_names(const std::vector<corpus::SourceDocument>& documents) {
  std::map<std::string_view, const corpus::SourceDocument*> first;
  for (const auto& document : documents) {
    const auto [entry, is_new] = first.try_emplace(document.name, &document);
    if (is_new) continue;
    throw Error(ErrorCode::kInvalidFormat, document.file, " line ", document.line, ": the name \"",
                document.name, "\" is also that of ", entry->second->file, " line ",
                entry->second->line);
  }
}

}  // namespace

bool QaSet::is_gold(const corpus::Question& question, const std::string& name) const {
  const auto text = text_of.find(name);
  return text != text_of.end() && std::any_of(question.documents.begin(), question.documents.end(),
                                              [&](const std::string& gold) {
                                                const auto found = text_of.find(gold);
                                                return found != text_of.end() &&
                                                       found->second == text->second;
                                              });
}

QaSet load_qa_set(FileSystem& files, const QaOptions& options) {
  MSA_CHECK(!options.num_extra || *options.num_extra >= 0, "num_extra must be at least 0, got ",
            options.num_extra.value_or(0));
  MSA_CHECK(!options.num_extra || !options.extra.empty(),
            "num_extra says how many documents, extra must say of which file");
  MSA_CHECK(!options.leaves_gold_out || !options.extra.empty(),
            "without the documents of the questions extra must say what is in memory");
  QaSet set;
  set.questions = corpus::read_questions(files, either(files, options.set / "questions.jsonl"));
  choose_questions(files, options.questions, set.questions);
  std::set<std::string> gold;
  for (const auto& question : set.questions) {
    gold.insert(question.documents.begin(), question.documents.end());
  }
  set.documents =
      read_documents(files, either(files, options.set / "documents.jsonl"), options.stop);
  std::erase_if(set.documents, [&](const auto& document) { return !gold.contains(document.name); });
  if (!options.extra.empty()) {
    auto extra = read_documents(files, options.extra, options.stop);
    std::erase_if(extra, [&](const auto& document) { return gold.contains(document.name); });
    if (options.leaves_gold_out) {
      std::set<std::string_view> texts;
      for (const auto& document : set.documents) texts.insert(document.text);
      std::erase_if(extra, [&](const auto& document) { return texts.contains(document.text); });
    }
    if (options.num_extra) draw(extra, *options.num_extra);
    if (options.leaves_gold_out) set.documents.clear();
    std::move(extra.begin(), extra.end(), std::back_inserter(set.documents));
  }
  expect_distinct_names(set.documents);
  std::map<std::string, int64_t> numbers;
  for (const auto& document : set.documents) {
    const auto [entry, is_new] =
        numbers.try_emplace(document.text, static_cast<int64_t>(numbers.size()));
    set.text_of[document.name] = entry->second;
  }
  MSA_CHECK(!options.leaves_gold_out || !set.documents.empty(), options.extra.string(),
            ": no document is left");
  std::erase_if(set.questions, [&](const corpus::Question& question) {
    return !options.leaves_gold_out &&
           std::none_of(question.documents.begin(), question.documents.end(),
                        [&](const std::string& name) { return set.text_of.contains(name); });
  });
  MSA_CHECK(!set.questions.empty(), options.set.string(),
            ": no question to ask has a document in documents.jsonl");
  return set;
}

void write_documents(FileSystem& files, const std::filesystem::path& path,
                     const std::vector<corpus::SourceDocument>& documents) {
  std::string lines;
  for (const auto& document : documents) {
    lines += to_line(
        OrderedJson{{"id", document.name}, {"title", document.title}, {"text", document.text}});
    lines += '\n';
  }
  write_file_atomically(files, path, std::as_bytes(std::span(lines)));
}

}  // namespace msa::eval
