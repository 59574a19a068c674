#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "msa/corpus/words.h"
#include "msa/samples/batch_texts.h"
#include "msa/samples/memory_drawer.h"

namespace msa::samples {
namespace {

constexpr uint64_t kSeed = 3;

/// Of each town's first passage: two passages of other towns and a plant are taken for it.
std::vector<std::vector<int32_t>> groups() {
  std::vector<std::vector<int32_t>> all;
  for (int a = 10; a + 2 < BatchFixture::kArticles; ++a) {
    const std::string number = std::to_string(a);
    all.push_back({fixture().document("a-" + number + "-2"),
                   fixture().document("a-" + std::to_string(a + 1) + "-1"),
                   fixture().document("a-" + std::to_string(a + 2) + "-3"),
                   fixture().document("o-" + std::to_string(a % 40))});
  }
  return all;
}

Mixture refusing_mixture() {
  Mixture mixture = small_mixture();
  mixture.similar_share = 0.4;
  mixture.neighbour_share = 0;
  mixture.memory_tokens = 5'000;
  mixture.no_answer_share = 1;
  mixture.no_answer_text_share = 1;
  mixture.no_answer_similar_share = 1;
  mixture.lower_case_share = 0;
  return mixture;
}

const TrainQuestion& question_of(const std::string& name) {
  static const auto kQuestions = [] {
    std::map<std::string, TrainQuestion> all;
    for (int32_t i = 0; i < corpus().num_questions(); ++i) {
      all[std::string(corpus().question(i).name)] = corpus().question(i);
    }
    return all;
  }();
  return kQuestions.at(name.substr(name.rfind(": ") + 2));
}

/// Places of the memory whose texts a sequence reads.
std::set<size_t> read_in(const std::string& sequence, const DrawnMemory& memory) {
  std::set<size_t> places;
  for (size_t i = 0; i < memory.documents().size(); ++i) {
    const ShownDocument& shown = memory.documents()[i];
    const std::string front = "[" + std::to_string(shown.id) + "]. ";
    if (sequence.find(front + shown_text(corpus(), shown)) != std::string::npos) places.insert(i);
  }
  return places;
}

TEST(Refusals, ReadWhatIsTakenForTheDocumentThatTheMemoryLacks) {
  int beside_similar = 0;
  int beside_any = 0;
  std::map<size_t, int> num_texts;
  std::map<bool, int> is_one_by_one;
  for (int64_t step = 0; step < 15; ++step) {
    const Mixture mixture = refusing_mixture();
    BatchMaker maker = maker_of(mixture, {.seed = kSeed});
    const auto similar = step < 12 ? groups() : std::vector<std::vector<int32_t>>{};
    maker.set_similar(similar);
    const Batch batch = maker.make(step);
    check(batch, fixture().layout().tokenizer().vocab_size());
    Random random(kSeed, {static_cast<uint64_t>(step)});
    const DrawnMemory memory = MemoryDrawer(corpus(), mixture).draw_memory(similar, random);
    ASSERT_EQ(static_cast<int64_t>(memory.documents().size()), batch.documents.num_sequences());
    std::string all;
    for (const std::string& document : texts_of(batch.documents)) all += document;
    const auto answers = learned(batch, LossTerm::kAnswer);
    for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
      const std::string& name = batch.names[s];
      if (!name.starts_with("beside") && !name.starts_with("without")) continue;
      const std::string text = text_of(batch.sequences, s);
      SCOPED_TRACE(name + "\n" + text);
      EXPECT_TRUE(gold_of(batch, s).empty());
      EXPECT_EQ(answers.at(s),
                "<End-of-Retrieve>The answer to the question is: I do not know.<|im_end|>");
      const TrainQuestion& question = question_of(name);
      for (const int32_t gold : question.documents) {
        EXPECT_LT(memory.place_of(gold), 0);
        EXPECT_EQ(all.find(corpus().text(gold)), std::string::npos);
      }
      const std::set<size_t> read = read_in(text, memory);
      EXPECT_GE(read.size(), 1U);
      EXPECT_LE(read.size(), 3U);
      ++num_texts[read.size()];
      if (!name.starts_with("beside")) {
        EXPECT_TRUE(std::ranges::none_of(question.documents,
                                         [&](int32_t gold) { return memory.speaks_of(gold); }));
        ++beside_any;
        continue;
      }
      ++beside_similar;
      if (read.size() > 1) ++is_one_by_one[text.find("]. ") < text.find("][")];
      const auto left_out = std::ranges::find_if(memory.left_out, [&](const LeftOut& one) {
        return std::ranges::find(question.documents, one.document) != question.documents.end();
      });
      ASSERT_NE(left_out, memory.left_out.end());
      const std::string answer = corpus::lower_case(question.answers[0]);
      for (const size_t place : read) {
        const int32_t document = memory.documents()[place].document;
        const bool is_similar = std::ranges::any_of(memory.left_out, [&](const LeftOut& one) {
          return one.document == left_out->document &&
                 std::ranges::find(one.similar, document) != one.similar.end();
        });
        EXPECT_TRUE(is_similar) << corpus().document_name(document);
        EXPECT_EQ(corpus::lower_case(corpus().text(document)).find(answer), std::string::npos);
      }
    }
  }
  EXPECT_GT(beside_similar, 40);
  EXPECT_GT(beside_any, 10);
  for (const size_t count : {1, 2, 3}) EXPECT_GT(num_texts[count], 5) << count;
  EXPECT_GT(is_one_by_one[true], 3);
  EXPECT_GT(is_one_by_one[false], 3);
}

TEST(Refusals, SharesAreHeld) {
  const auto share_of = [](double similar_share) {
    Mixture mixture = refusing_mixture();
    mixture.no_answer_similar_share = similar_share;
    BatchMaker maker = maker_of(mixture, {.seed = kSeed});
    maker.set_similar(groups());
    int similar = 0;
    int all = 0;
    for (int64_t step = 0; step < 15; ++step) {
      for (const std::string& name : maker.make(step).names) {
        similar += name.starts_with("beside") ? 1 : 0;
        all += name.starts_with("beside") || name.starts_with("without") ? 1 : 0;
      }
    }
    EXPECT_GT(all, 100);
    return static_cast<double>(similar) / all;
  };
  EXPECT_EQ(share_of(0), 0);
  const double most = share_of(1);
  EXPECT_GT(most, 0.8);
  EXPECT_NEAR(share_of(0.5), most / 2, 0.15);
}

TEST(Refusals, WhatAMemoryLeavesOutEntersByNoOtherWay) {
  size_t left_out = 0;
  size_t similar_there = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Mixture mixture = refusing_mixture();
    mixture.neighbour_share = 0.8;
    Random random(seed, {});
    const DrawnMemory memory = MemoryDrawer(corpus(), mixture).draw_memory(groups(), random);
    for (const LeftOut& one : memory.left_out) {
      EXPECT_LT(memory.place_of(one.document), 0);
      ++left_out;
      similar_there += static_cast<size_t>(std::ranges::count_if(
          one.similar, [&](int32_t other) { return memory.place_of(other) >= 0; }));
    }
    for (const ChainQuestion& chain : memory.chains) {
      EXPECT_GE(memory.place_of(chain.first), 0);
      EXPECT_GE(memory.place_of(chain.second), 0);
    }
  }
  EXPECT_GT(left_out, 30U);
  EXPECT_GT(similar_there, left_out);
  Mixture mixture = refusing_mixture();
  mixture.no_answer_similar_share = 0;
  Random random(1, {});
  EXPECT_TRUE(MemoryDrawer(corpus(), mixture).draw_memory(groups(), random).left_out.empty());
}

TEST(Refusals, AQuestionThatADocumentOfTheGroupAnswersIsNotRefused) {
  for (const bool answers_too : {false, true}) {
    const ScratchFolder scratch("refusals");
    const auto line = [](const std::string& id, const std::string& text) {
      return R"({"id":")" + id + R"(","title":"","text":")" + text + "\"}\n";
    };
    TrainCorpusOptions options;
    options.sources = {
        {.name = "s",
         .documents = scratch.write(
             "s.jsonl",
             line("gold", "The mill of Orl was built by Baku Tomi in spring.") +
                 line("alike", "The mill of Urk was built by " +
                                   std::string(answers_too ? "Baku Tomi" : "Zed Rado") + " too.") +
                 line("other", "The mill of Ash was never built.")),
         .questions = {scratch.write("q.jsonl",
                                     R"({"id":"q","question":"Who built the mill of Orl?",)"
                                     R"("answers":["Baku Tomi"],"documents":["gold"]})"
                                     "\n")}}};
    options.cache = scratch.path() / "cache";
    options.num_threads = 1;
    const text::PromptLayout& layout = fixture().layout();
    const auto small = TrainCorpus::open(real_file_system(), layout, options);
    Mixture mixture = refusing_mixture();
    mixture.similar_share = 1;
    BatchMaker maker(*small, layout, mixture, {.seed = kSeed});
    maker.set_similar({{0, 1, 2}});
    int refused = 0;
    for (int64_t step = 0; step < 20; ++step) {
      for (const std::string& name : maker.make(step).names) {
        refused += name.starts_with("beside similar") ? 1 : 0;
      }
    }
    if (answers_too) {
      EXPECT_EQ(refused, 0);
    } else {
      EXPECT_GT(refused, 10);
    }
  }
}

}  // namespace
}  // namespace msa::samples
