#include "msa/samples/train_corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/test_paths.h"
#include "msa/base/threads.h"
#include "msa/corpus/passage_text.h"
#include "msa/samples/corpus_fixture.h"

namespace msa::samples {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const text::PromptLayout& layout() {
  static const LoadedLayout loaded(source_folder() / "models/msa-tiny");
  return loaded.layout();
}

std::string document(const std::string& id, const std::string& title, const std::string& text) {
  return to_line(OrderedJson{{"id", id}, {"title", title}, {"text", text}, {"lang", "en"}}) + "\n";
}

std::string asked(const std::string& id, const std::string& text,
                  const std::vector<std::string>& answers, const std::vector<std::string>& gold) {
  return to_line(OrderedJson{
             {"id", id}, {"question", text}, {"answers", answers}, {"documents", gold}}) +
         "\n";
}

/// A text of several passages at 40 tokens each; one names a harbour, a later one a mill.
std::string town() {
  std::string text;
  for (int n = 0; n < 24; ++n) {
    text += "Street " + std::to_string(n) + " leads to the square.";
    if (n == 12) text += " The old Harbour was built in 1766.";
    if (n == 20) text += " Its mill is called Red-Wheel.";
    text += " ";
  }
  return text;
}

class TrainCorpusTest : public testing::Test {
 protected:
  TrainCorpusTest() {
    options_.cache = folder_.path() / "cache";
    options_.max_document_tokens = 40;
    options_.sources.push_back(
        {.name = "moons",
         .documents = folder_.write("moons.jsonl", document("m0", "Io", "It is hot.") +
                                                       document("m1", "Europa", "It is icy.") +
                                                       document("m2", "", "It is hot.") +
                                                       document("shared", "Luna", "It is near.")),
         .questions = {folder_.write(
             "moons_q.jsonl", asked("q0", "Which is hot?", {"Io"}, {"m0"}) +
                                  asked("q1", "Which two?", {"Io and Europa"}, {"m1", "m0"}) +
                                  asked("q2", "Which is near?", {}, {"shared"}))},
         .needs_all_gold = true});
    options_.sources.push_back(
        {.name = "towns",
         .documents = folder_.write("towns.jsonl", document("t0", "Port", town()) +
                                                       document("t1", "Io", "It is hot.") +
                                                       document("shared", "Inland", "It is far.")),
         .questions = {folder_.write(
                           "towns_q.jsonl",
                           asked("p0", "When was it built?", {"no such year", "1766"}, {"t0"}) +
                               asked("p1", "What is the mill?", {"red wheel"}, {"t0"}) +
                               asked("p2", "Is it old?", {"yes"}, {"t0"})),
                       folder_.write("more_q.jsonl",
                                     asked("p3", "Which is far?", {"Inland"}, {"shared"}) +
                                         asked("p4", "Which is icy?", {"Europa"}, {"m1", "t1"}))},
         .needs_all_gold = false});
  }

  std::unique_ptr<TrainCorpus> open() const {
    return TrainCorpus::open(real_file_system(), layout(), options_);
  }

  static int64_t number_of(const TrainCorpus& corpus, std::string_view question) {
    for (int64_t q = 0; q < corpus.num_questions(); ++q) {
      if (corpus.question(q).name == question) return q;
    }
    ADD_FAILURE() << "no question " << question;
    return 0;
  }

  static std::vector<std::string> held_back_questions(const TrainCorpus& corpus) {
    std::vector<std::string> names;
    for (int64_t q = 0; q < corpus.num_questions(); ++q) {
      if (corpus.is_question_held_back(q)) names.emplace_back(corpus.question(q).name);
    }
    return names;
  }

  static std::vector<int64_t> held_back_documents(const TrainCorpus& corpus) {
    std::vector<int64_t> documents;
    for (int64_t d = 0; d < corpus.num_documents(); ++d) {
      if (corpus.is_held_back(d)) documents.push_back(d);
    }
    return documents;
  }

  ScratchFolder folder_{"train_corpus_test"};
  TrainCorpusOptions options_;
};

TEST_F(TrainCorpusTest, NumbersDocumentsAndQuestionsSourceBySource) {
  const auto corpus = open();
  EXPECT_EQ(corpus->num_sources(), 2);
  EXPECT_EQ(corpus->num_questions(), 8);
  EXPECT_THAT(corpus->documents_of_source(0), ElementsAre(0, 1, 2, 3));
  const auto towns = corpus->documents_of_source(1);
  EXPECT_EQ(towns.front(), 4);
  EXPECT_EQ(towns.back(), corpus->num_documents() - 1);
  EXPECT_THAT(corpus->questions_of_source(0), ElementsAre(0, 1, 2));
  EXPECT_THAT(corpus->questions_of_source(1), ElementsAre(3, 4, 5, 6, 7));
  EXPECT_EQ(corpus->document_name(1), "m1");
  EXPECT_EQ(corpus->title(1), "Europa");
  EXPECT_EQ(corpus->title(2), "");
  EXPECT_EQ(corpus->text(1), "It is icy.");
  for (int64_t d = 0; d < corpus->num_documents(); ++d) {
    EXPECT_EQ(corpus->source_of(d), d < 4 ? 0 : 1);
    EXPECT_FALSE(corpus->is_held_back(d));
  }
  const TrainQuestion two = corpus->question(1);
  EXPECT_EQ(two.name, "q1");
  EXPECT_EQ(two.text, "Which two?");
  EXPECT_THAT(two.answers, ElementsAre("Io and Europa"));
  EXPECT_THAT(two.documents, ElementsAre(1, 0));
  EXPECT_TRUE(two.needs_all_gold);
  EXPECT_EQ(two.source, 0);
  EXPECT_THAT(corpus->question(2).answers, IsEmpty());
  EXPECT_FALSE(corpus->question(7).needs_all_gold);
  EXPECT_EQ(corpus->question(7).source, 1);
}

TEST_F(TrainCorpusTest, KnowsTheQuestionsOfADocument) {
  const auto corpus = open();
  EXPECT_THAT(corpus->questions_of(0), ElementsAre(0, 1));
  EXPECT_THAT(corpus->questions_of(1), ElementsAre(1, number_of(*corpus, "p4")));
  EXPECT_THAT(corpus->questions_of(2), IsEmpty());
  int64_t links = 0;
  for (int64_t d = 0; d < corpus->num_documents(); ++d) {
    links += std::ssize(corpus->questions_of(d));
    for (const int32_t q : corpus->questions_of(d)) {
      EXPECT_THAT(corpus->question(q).documents, testing::Contains(d));
    }
  }
  EXPECT_EQ(links, 10);
}

TEST_F(TrainCorpusTest, GoldIsThePassageThatHoldsTheAnswerElseTheFirst) {
  const auto corpus = open();
  const auto gold_text = [&](const char* question) {
    const TrainQuestion q = corpus->question(number_of(*corpus, question));
    EXPECT_EQ(corpus->document_name(q.documents.front()), "t0");
    return std::string(corpus->text(q.documents.front()));
  };
  EXPECT_THAT(gold_text("p0"), HasSubstr("1766"));
  EXPECT_THAT(gold_text("p1"), HasSubstr("Red-Wheel"));
  EXPECT_THAT(gold_text("p2"), StartsWith("Street 0 "));
}

TEST_F(TrainCorpusTest, GoldIsOfTheQuestionsOwnSourceFirst) {
  const auto corpus = open();
  EXPECT_EQ(corpus->title(corpus->question(2).documents.front()), "Luna");
  const TrainQuestion far = corpus->question(number_of(*corpus, "p3"));
  EXPECT_EQ(corpus->title(far.documents.front()), "Inland");
}

TEST_F(TrainCorpusTest, ATextThatAnEarlierDocumentHasIsRepeated) {
  const auto corpus = open();
  std::vector<int64_t> repeated;
  for (int64_t d = 0; d < corpus->num_documents(); ++d) {
    if (corpus->is_repeated(d)) repeated.push_back(d);
  }
  EXPECT_THAT(repeated, ElementsAre(2, corpus->num_documents() - 2));
}

TEST_F(TrainCorpusTest, TokensAreThoseOfTheLayout) {
  const auto corpus = open();
  int64_t num_tokens = 0;
  for (int64_t d = 0; d < corpus->num_documents(); ++d) {
    for (const int64_t id : {int64_t{0}, int64_t{42}, int64_t{1234567}}) {
      for (const auto title : {TrainCorpus::Title::kShown, TrainCorpus::Title::kHidden}) {
        const std::string text = title == TrainCorpus::Title::kShown
                                     ? corpus::passage_text(corpus->title(d), corpus->text(d))
                                     : std::string(corpus->text(d));
        std::vector<int32_t> tokens;
        corpus->append_document(d, id, title, tokens);
        EXPECT_EQ(tokens, layout().document(id, text).tokens);
        EXPECT_EQ(std::ssize(tokens),
                  corpus->document_tokens(d, title, std::ssize(std::to_string(id))));
        if (id == 1234567 && title == TrainCorpus::Title::kShown) num_tokens += std::ssize(tokens);
        tokens.clear();
        corpus->append_text(d, id, title, tokens);
        tokens.push_back(layout().ids_end_token());
        const std::vector<text::AppendedText> texts{{.id = id, .text = text}};
        EXPECT_EQ(tokens, layout().appended_texts(texts).tokens);
      }
    }
  }
  EXPECT_EQ(corpus->num_tokens(), num_tokens);
}

TEST_F(TrainCorpusTest, WhatAnswersAHeldBackQuestionIsHeldBackWithAllOfItsQuestions) {
  options_.held_back = {folder_.write("held.txt", "\n q0 \r\n")};
  const auto corpus = open();
  // m0, and those with its text; q1 needs m0 too, p4 has the same text as gold.
  EXPECT_THAT(held_back_documents(*corpus), ElementsAre(0, 2, corpus->num_documents() - 2));
  EXPECT_THAT(held_back_questions(*corpus), ElementsAre("q0", "q1", "p4"));
}

TEST_F(TrainCorpusTest, AnEarlierDocumentWithTheTextOfAHeldBackOneIsHeldBackToo) {
  options_.held_back = {folder_.write("held.txt", "p4\n")};
  const auto corpus = open();
  EXPECT_THAT(held_back_documents(*corpus), ElementsAre(0, 1, 2, corpus->num_documents() - 2));
  EXPECT_THAT(held_back_questions(*corpus), ElementsAre("q0", "q1", "p4"));
}

TEST_F(TrainCorpusTest, AllPassagesOfAHeldBackDocumentAreHeldBack) {
  options_.held_back = {folder_.write("held.txt", "p0\n"), folder_.write("more.txt", "q2")};
  const auto corpus = open();
  EXPECT_THAT(held_back_questions(*corpus), ElementsAre("q2", "p0", "p1", "p2"));
  for (int64_t d = 0; d < corpus->num_documents(); ++d) {
    EXPECT_EQ(corpus->is_held_back(d), corpus->document_name(d) == "t0" || d == 3) << d;
  }
  EXPECT_GT(corpus->num_documents(), 12);
}

TEST_F(TrainCorpusTest, AnOpenFromTheCacheGivesTheSameCorpus) {
  options_.held_back = {folder_.write("held.txt", "q0\n")};
  const auto first = open();
  options_.num_threads = 3;
  const int threads = num_threads();
  const auto second = open();
  EXPECT_EQ(num_threads(), threads);
  ASSERT_EQ(second->num_documents(), first->num_documents());
  EXPECT_EQ(second->num_tokens(), first->num_tokens());
  EXPECT_EQ(held_back_documents(*second), held_back_documents(*first));
  for (int64_t d = 0; d < first->num_documents(); ++d) {
    std::vector<int32_t> one;
    std::vector<int32_t> other;
    first->append_document(d, 7, TrainCorpus::Title::kShown, one);
    second->append_document(d, 7, TrainCorpus::Title::kShown, other);
    EXPECT_EQ(one, other);
    EXPECT_EQ(first->text(d), second->text(d));
    EXPECT_EQ(first->title(d), second->title(d));
  }
}

TEST_F(TrainCorpusTest, SeveralThreadsMayRead) {
  const auto corpus = open();
  std::vector<std::vector<int32_t>> tokens(4);
  std::vector<std::thread> threads;
  for (auto& own : tokens) {
    threads.emplace_back([&] {
      for (int64_t d = 0; d < corpus->num_documents(); ++d) {
        corpus->append_document(d, 12, TrainCorpus::Title::kShown, own);
        own.push_back(static_cast<int32_t>(corpus->questions_of(d).size()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& own : tokens) EXPECT_EQ(own, tokens.front());
}

TEST_F(TrainCorpusTest, OptionsOutOfRangeAreRefused) {
  const auto expect_refused = [&](const std::string& why, const auto& change) {
    TrainCorpusOptions changed = options_;
    change(changed);
    try {
      TrainCorpus::open(real_file_system(), layout(), changed);
      ADD_FAILURE() << "not refused: " << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  };
  expect_refused("needs a source", [](auto& o) { o.sources.clear(); });
  expect_refused("a name of its own", [](auto& o) { o.sources[1].name = "moons"; });
  expect_refused("a name of its own", [](auto& o) { o.sources[1].name = ""; });
  expect_refused("no file of documents", [](auto& o) { o.sources[1].documents.clear(); });
  expect_refused("no folder", [](auto& o) { o.cache.clear(); });
  expect_refused("max_document_tokens", [](auto& o) { o.max_document_tokens = 7; });
  expect_refused("num_threads", [](auto& o) { o.num_threads = -1; });
}

}  // namespace
}  // namespace msa::samples
