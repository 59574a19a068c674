#pragma once
// A small corpus that tests of sequences and batches share: made articles of several passages with
// questions, some of them held back, some that need two documents.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/samples/corpus_fixture.h"
#include "msa/samples/random.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

class BatchFixture {
 public:
  static constexpr int kArticles = 60;
  static constexpr int kPassages = 3;

  /// `model`: the folder of the embedded model.
  explicit BatchFixture(const std::filesystem::path& model)
      : scratch_("batch_fixture"), loaded_(model) {
    Random random(11, {});
    std::string documents;
    std::string questions;
    for (int a = 0; a < kArticles; ++a) {
      for (int p = 1; p <= kPassages; ++p) add_passage(a, p, random, documents, questions);
    }
    TrainCorpusOptions options;
    options.sources = {
        {.name = "articles",
         .documents = scratch_.write("articles.jsonl", documents),
         .questions = {scratch_.write("questions.jsonl", questions)}},
        {.name = "others",
         .documents = scratch_.write("others.jsonl", others(random)),
         .questions = {scratch_.write("either.jsonl", either())},
         .needs_all_gold = false},
    };
    options.held_back = {scratch_.write("held_back.txt", "q-3-1\nq-8-2\n")};
    options.cache = scratch_.path() / "cache";
    options.num_threads = 1;
    corpus_ = TrainCorpus::open(real_file_system(), loaded_.layout(), options);
  }

  const TrainCorpus& corpus() const { return *corpus_; }
  const text::PromptLayout& layout() const { return loaded_.layout(); }

  int32_t document(const std::string& name) const {
    for (int32_t i = 0; i < corpus_->num_documents(); ++i) {
      if (corpus_->document_name(i) == name) return i;
    }
    throw Error(ErrorCode::kNotFound, name);
  }

 private:
  static std::string name_of(Random& random) {
    static const std::vector<std::string> kSyllables{"ba",  "ke",  "lo", "mi",  "ru",  "sta",
                                                     "von", "qui", "ze", "tha", "dor", "pli"};
    std::string name;
    for (int i = 0; i < 3; ++i) name += random.pick(kSyllables);
    name[0] = static_cast<char>(name[0] - 'a' + 'A');
    return name;
  }

  static std::string document_line(const std::string& id, const std::string& title,
                                   const std::string& text) {
    return R"({"id":")" + id + R"(","title":")" + title + R"(","text":")" + text + "\"}\n";
  }

  static std::string question_line(const std::string& id, const std::string& text,
                                   const std::string& answer, const std::string& gold) {
    const std::string answers = answer.empty() ? "" : "\"" + answer + "\"";
    return R"({"id":")" + id + R"(","question":")" + text + R"(","answers":[)" + answers +
           R"(],"documents":[)" + gold + "]}\n";
  }

  void add_passage(int article, int passage, Random& random, std::string& documents,
                   std::string& questions) {
    const std::string id = "a-" + std::to_string(article) + "-" + std::to_string(passage);
    if (passage == 1) {
      last_title_ = title_;
      title_ = name_of(random) + " " + name_of(random);
    }
    const std::string builder = name_of(random) + " " + name_of(random);
    const std::string year = std::to_string(random.between(1700, 1999));
    // The first passage names the article before it: a question can be asked over both.
    std::string text = title_ + " is a town that was founded by " +
                       (passage == 1 && !last_title_.empty() ? last_title_ : builder) + " in " +
                       year + ". It has " + std::to_string(random.between(20, 999)) +
                       " houses near the river " + name_of(random) +
                       ". The bridge of the town was built by " + builder + " for the market.";
    documents += document_line(id, title_ + " (" + std::to_string(passage) + ")", text);
    const std::string number = std::to_string(article) + "-" + std::to_string(passage);
    questions += question_line(
        "q-" + number,
        "Who built the bridge of " + title_ + " in part " + std::to_string(passage) + "?", builder,
        "\"" + id + "\"");
    if (passage == 2) {
      const std::string first = "a-" + std::to_string(article) + "-1";
      questions +=
          question_line("both-" + number, "Which builder came after the founder of " + title_ + "?",
                        builder, "\"" + first + "\",\"" + id + "\"");
    }
  }

  static std::string others(Random& random) {
    std::string documents;
    for (int i = 0; i < 40; ++i) {
      const std::string name = name_of(random);
      documents += document_line("o-" + std::to_string(i), i % 4 == 0 ? "" : name + " (plant)",
                                 name + " grows in the hills of " + name_of(random) +
                                     " and was first seen by " + name_of(random) + " in May 1901.");
    }
    documents += document_line("again", "Again", "Twice the same text stands here, and no more.");
    documents += document_line("again-2", "Again", "Twice the same text stands here, and no more.");
    return documents;
  }

  /// Either of two documents answers.
  static std::string either() {
    std::string questions;
    for (int i = 0; i + 1 < 40; i += 2) {
      questions +=
          question_line("e-" + std::to_string(i), "Which plant grows in hills?", "",
                        "\"o-" + std::to_string(i) + "\",\"o-" + std::to_string(i + 1) + "\"");
    }
    return questions;
  }

  ScratchFolder scratch_;
  LoadedLayout loaded_;
  std::string title_;
  std::string last_title_;
  std::unique_ptr<TrainCorpus> corpus_;
};

}  // namespace msa::samples
