#include "msa/samples/batch_maker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/corpus/words.h"
#include "msa/samples/batch_stream.h"
#include "msa/samples/batch_texts.h"
#include "msa/samples/facts.h"

namespace msa::samples {

const BatchFixture& fixture() {
  static const BatchFixture made(source_folder() / "models/msa-tiny");
  return made;
}

namespace {

TEST(BatchMaker, ABatchIsAFunctionOfItsNumber) {
  const BatchMaker one = maker_of(small_mixture());
  const BatchMaker other = maker_of(small_mixture());
  const Batch third = one.make(3);
  EXPECT_FALSE(are_equal(one.make(0), third));
  EXPECT_TRUE(are_equal(other.make(3), third));
  EXPECT_TRUE(are_equal(one.make(3), third));
  const BatchMaker ranked = maker_of(small_mixture(), {.seed = 3, .rank = 1, .world_size = 2});
  EXPECT_TRUE(are_equal(ranked.make(1), third));
  EXPECT_FALSE(are_equal(maker_of(small_mixture(), {.seed = 4}).make(3), third));
}

TEST(BatchMaker, ThreadsOfAStreamMakeTheSameBatches) {
  const BatchMaker maker = maker_of(small_mixture());
  BatchStream stream([&](int64_t step) { return maker.make(step); },
                     {.first_step = 5, .num_threads = 3, .max_ahead = 4});
  for (int64_t step = 5; step < 11; ++step) {
    EXPECT_TRUE(are_equal(stream.next(), maker.make(step))) << step;
  }
}

TEST(BatchMaker, FillsItsTokensAndNeverCuts) {
  const Mixture mixture = small_mixture();
  const BatchMaker maker = maker_of(mixture);
  for (int64_t step = 0; step < 8; ++step) {
    const Batch batch = maker.make(step);
    check(batch, fixture().layout().tokenizer().vocab_size());
    EXPECT_LE(batch.documents.num_tokens(), mixture.memory_tokens);
    EXPECT_GE(batch.documents.num_tokens(), mixture.memory_tokens - 400);
    EXPECT_LE(batch.sequences.num_tokens(), mixture.sequence_tokens);
    EXPECT_GE(batch.sequences.num_tokens(), mixture.sequence_tokens - 200);
    for (const std::string& document : texts_of(batch.documents)) {
      EXPECT_TRUE(document.ends_with("[" + id_of(document) + "]<|im_end|>")) << document;
    }
    for (const std::string& sequence : texts_of(batch.sequences)) {
      EXPECT_TRUE(sequence.ends_with("<|im_end|>") || sequence.ends_with("<|object_ref_end|>"));
    }
  }
}

TEST(BatchMaker, RenamedAnswersStandInTheirTextsAndAreOthersEveryTime) {
  for (const double share : {0.0, 1.0}) {
    for (const bool has_memory : {false, true}) {
      SCOPED_TRACE(share);
      SCOPED_TRACE(has_memory);
      Mixture mixture = small_mixture();
      mixture.renamed_share = share;
      mixture.no_answer_share = 0;
      mixture.made_reading_share = 0;
      mixture.chain_share = 0;
      mixture.lower_case_share = 0;
      mixture.alone_answers_share = 1;
      mixture.max_alone_answers = 1;
      mixture.language_share = 0;
      if (!has_memory) mixture.memory_tokens = 0;
      int64_t num_readings = 0;
      std::map<std::string, std::set<std::string>> answers;  // by question
      for (int64_t step = 0; step < 12; ++step) {
        const Batch batch = maker_of(mixture).make(step);
        for (const auto& [text, answer] :
             readings(batch, has_memory ? LossTerm::kAnswer : LossTerm::kLanguage)) {
          ++num_readings;
          const std::string last = " built by " + answer + " for the market.";
          if (text.find(last) != std::string::npos) {
            answers[text.substr(0, text.find('?'))].insert(answer);
          }
          EXPECT_TRUE(has_words(text, answer)) << text;
        }
      }
      ASSERT_GT(num_readings, 100);
      const auto asked_again = std::ranges::count_if(
          answers, [](const auto& question) { return question.second.size() > 1; });
      if (share == 0) {
        EXPECT_EQ(asked_again, 0);
      } else {
        EXPECT_GT(asked_again, static_cast<int64_t>(answers.size() / 3));
      }
    }
  }
}

TEST(BatchMaker, AllOfADocumentMayBeLearnedButTheIdAtItsBegin) {
  const Batch batch = maker_of(small_mixture()).make(0);
  const Targets& targets = batch.document_targets;
  ASSERT_GT(targets.size(), 0);
  size_t next = 0;
  for (size_t d = 0; d + 1 < batch.documents.offsets.size(); ++d) {
    std::vector<int32_t> tokens;
    for (; next < targets.rows.size() && targets.rows[next] < batch.documents.offsets[d + 1];
         ++next) {
      EXPECT_EQ(targets.terms[next], LossTerm::kDocuments);
      EXPECT_EQ(targets.weights[next], 1);
      EXPECT_EQ(targets.tokens[next],
                batch.documents.tokens[static_cast<size_t>(targets.rows[next]) + 1]);
      tokens.push_back(targets.tokens[next]);
    }
    const std::string document = text_of(batch.documents, d);
    EXPECT_EQ("<|im_start|>[" + id_of(document) + "]" + text_of(tokens), document);
  }
  EXPECT_EQ(next, targets.rows.size());
}

TEST(BatchMaker, WhatIsHeldBackOrRepeatedNeverEnters) {
  std::vector<std::string> held_back;
  for (int32_t i = 0; i < corpus().num_documents(); ++i) {
    if (corpus().is_held_back(i)) held_back.emplace_back(corpus().text(i));
  }
  ASSERT_GE(held_back.size(), 2U);
  std::set<std::string> held_questions;
  for (int32_t i = 0; i < corpus().num_questions(); ++i) {
    if (corpus().is_question_held_back(i)) {
      held_questions.insert(corpus::lower_case(corpus().question(i).text));
    }
  }
  ASSERT_GE(held_questions.size(), 2U);
  Mixture mixture = small_mixture();
  mixture.neighbour_share = 1;
  BatchMaker maker = maker_of(mixture);
  const int32_t bad = fixture().document("a-3-1");
  ASSERT_TRUE(corpus().is_held_back(bad));
  maker.set_similar({{bad, fixture().document("a-3-2")}, {bad}});
  for (int64_t step = 0; step < 12; ++step) {
    const Batch batch = maker.make(step);
    std::string all;
    for (const std::string& text : texts_of(batch.documents)) all += text;
    size_t repeated = 0;
    for (size_t place = 0; (place = all.find("Twice the same", place)) != std::string::npos;) {
      ++repeated;
      ++place;
    }
    EXPECT_LE(repeated, 1U);
    for (const std::string& text : texts_of(batch.sequences)) all += text;
    for (const std::string& text : held_back) EXPECT_EQ(all.find(text), std::string::npos);
    const std::string lower = corpus::lower_case(all);
    for (const std::string& text : held_questions) EXPECT_EQ(lower.find(text), std::string::npos);
  }
}

TEST(BatchMaker, IdsAreUniqueAndAsLongAsTheMixtureSays) {
  for (const int64_t digits : {1, 2, 7}) {
    Mixture mixture = small_mixture();
    mixture.ids_max_digits = digits;
    const Batch batch = maker_of(mixture).make(0);
    std::set<std::string> ids;
    std::map<size_t, int> lengths;
    for (const std::string& document : texts_of(batch.documents)) {
      EXPECT_TRUE(ids.insert(id_of(document)).second);
      ++lengths[id_of(document).size()];
    }
    ASSERT_GT(ids.size(), 40U);
    EXPECT_LE(lengths.rbegin()->first, static_cast<size_t>(std::max<int64_t>(digits, 3)));
    EXPECT_GE(lengths.size(), static_cast<size_t>(std::min<int64_t>(digits, 6)));
  }
}

TEST(BatchMaker, TheIdsThatAreLearnedAreThoseOfTheGold) {
  Mixture mixture = small_mixture();
  mixture.hop_share = 0;
  mixture.retry_share = 0;
  mixture.chain_share = 0;
  const BatchMaker maker = maker_of(mixture);
  int with_two = 0;
  int alternatives = 0;
  for (int64_t step = 0; step < 6; ++step) {
    const Batch batch = maker.make(step);
    const auto documents = texts_of(batch.documents);
    const auto ids = learned(batch, LossTerm::kIds);
    EXPECT_GT(ids.size(), 20U);
    for (const auto& [sequence, text] : ids) {
      const auto gold = gold_of(batch, sequence);
      ASSERT_FALSE(gold.empty());
      std::vector<std::string> each;
      std::string all;
      for (const size_t place : gold) {
        each.push_back("[" + id_of(documents[place]) + "]<|object_ref_end|>");
        all += "[" + id_of(documents[place]) + "]";
      }
      if (batch.names[sequence].starts_with("e-")) {
        EXPECT_NE(std::ranges::find(each, text), each.end());
        alternatives += gold.size() > 1 ? 1 : 0;
      } else {
        EXPECT_EQ(text, all + "<|object_ref_end|>") << batch.names[sequence];
        with_two += gold.size() > 1 ? 1 : 0;
      }
    }
    // Who has gold names it, and nobody else.
    for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
      EXPECT_EQ(gold_of(batch, s).empty(), !ids.contains(s)) << batch.names[s];
    }
  }
  EXPECT_GT(with_two, 0);
  EXPECT_GT(alternatives, 0);
}

TEST(BatchMaker, QuestionsOfTwoDocumentsAreAskedOneStepAtATime) {
  Mixture mixture = small_mixture();
  mixture.hop_share = 1;
  mixture.retry_share = 0;
  const BatchMaker maker = maker_of(mixture);
  std::map<std::string, int> steps;
  for (int64_t step = 0; step < 10; ++step) {
    const Batch batch = maker.make(step);
    const auto documents = texts_of(batch.documents);
    for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
      const std::string& name = batch.names[s];
      if (!name.starts_with("both-") && !name.starts_with("over two")) continue;
      const std::string text = text_of(batch.sequences, s);
      const auto gold = gold_of(batch, s);
      if (gold.empty()) {
        EXPECT_NE(text.find("The answer to the question is: "), std::string::npos);
        EXPECT_GE(std::ranges::count(text, ']'), 4);
        ++steps["answer"];
        continue;
      }
      ASSERT_LE(gold.size(), 2U);
      EXPECT_TRUE(text.ends_with("[" + id_of(documents[gold.back()]) + "]<|object_ref_end|>"));
      if (gold.size() == 2) {
        EXPECT_NE(text.find("<|object_ref_end|>[" + id_of(documents[gold[0]]) + "]. "),
                  std::string::npos);
      }
      ++steps[gold.size() == 1 ? "first" : "second"];
    }
  }
  for (const char* step : {"first", "second", "answer"}) EXPECT_GT(steps[step], 2) << step;
}

TEST(BatchMaker, WhatWasReadInVainIsFollowedByTheRightDocument) {
  Mixture mixture = small_mixture();
  mixture.retry_share = 1;
  mixture.hop_share = 0;
  mixture.chain_share = 0;
  const BatchMaker maker = maker_of(mixture);
  int again = 0;
  for (int64_t step = 0; step < 4; ++step) {
    const Batch batch = maker.make(step);
    const auto ids = learned(batch, LossTerm::kIds);
    std::set<std::string> named;
    for (const std::string& document : texts_of(batch.documents)) {
      named.insert("[" + id_of(document) + "]<|object_ref_end|>");
    }
    for (const auto& [sequence, text] : ids) {
      if (!batch.names[sequence].starts_with("q-")) continue;
      if (!gold_of(batch, sequence).empty()) continue;  // no other document was found
      const std::string whole = text_of(batch.sequences, sequence);
      EXPECT_GE(std::ranges::count(whole, ']'), 3) << whole;
      ASSERT_TRUE(named.contains(text)) << text;
      // It has not been read before.
      EXPECT_EQ(whole.find("<|object_ref_end|>" + text.substr(0, text.find(']')) + "]. "),
                std::string::npos);
      ++again;
    }
  }
  EXPECT_GT(again, 20);
}

TEST(BatchMaker, ChainsAskForTheSecondDocumentInTermsOfTheFirst) {
  const BatchMaker maker = maker_of(small_mixture());
  int seen = 0;
  for (int64_t step = 0; step < 10; ++step) {
    const Batch batch = maker.make(step);
    for (size_t s = 0; s < batch.names.size(); ++s) {
      if (!batch.names[s].starts_with("over two")) continue;
      const std::string text = text_of(batch.sequences, s);
      EXPECT_NE(corpus::lower_case(text).find("the founder of "), std::string::npos) << text;
      ++seen;
    }
  }
  EXPECT_GT(seen, 5);
}

TEST(BatchMaker, QuestionsWithoutAnAnswerAreNotAnsweredByTheMemory) {
  Mixture mixture = small_mixture();
  mixture.no_answer_share = 1;
  mixture.neighbour_share = 0;
  const BatchMaker maker = maker_of(mixture);
  std::map<std::string, TrainQuestion> questions;
  for (int32_t i = 0; i < corpus().num_questions(); ++i) {
    questions[std::string(corpus().question(i).name)] = corpus().question(i);
  }
  int near = 0;
  int read = 0;
  int unread = 0;
  for (int64_t step = 0; step < 6; ++step) {
    const Batch batch = maker.make(step);
    const auto documents = texts_of(batch.documents);
    const auto answers = learned(batch, LossTerm::kAnswer);
    for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
      const std::string& name = batch.names[s];
      if (!name.starts_with("without")) continue;
      EXPECT_TRUE(gold_of(batch, s).empty());
      EXPECT_EQ(answers.at(s),
                "<End-of-Retrieve>The answer to the question is: I do not know.<|im_end|>");
      const TrainQuestion& question = questions.at(name.substr(name.rfind(": ") + 2));
      const bool is_near = name.starts_with("without its passage");
      for (const std::string& document : documents) {
        if (is_near) {
          const std::string title(plain_title(corpus().title(question.documents[0])));
          if (document.find(title + " is a town") == std::string::npos) continue;
          EXPECT_EQ(document.find(question.answers[0]), std::string::npos);
        } else {
          for (const int32_t gold : question.documents) {
            EXPECT_EQ(document.find(corpus().text(gold)), std::string::npos) << name;
          }
        }
      }
      near += is_near ? 1 : 0;
      const bool has_text = std::ranges::count(text_of(batch.sequences, s), ']') > 0;
      (has_text ? read : unread) += 1;
    }
  }
  EXPECT_GT(near, 10);
  EXPECT_GT(read, near);
  EXPECT_GT(unread, 10);
}

TEST(BatchMaker, LanguageAloneHasNoMemory) {
  Mixture mixture = small_mixture();
  mixture.memory_tokens = 0;
  const Batch batch = maker_of(mixture).make(2);
  EXPECT_EQ(batch.documents.num_sequences(), 0);
  EXPECT_EQ(batch.num_asking, 0);
  EXPECT_TRUE(batch.query_rows.empty());
  int conversations = 0;
  for (const std::string& text : texts_of(batch.sequences)) {
    conversations += text.starts_with("<|im_start|>user\n") ? 1 : 0;
  }
  EXPECT_GT(conversations, 5);
  EXPECT_LT(conversations, batch.sequences.num_sequences() - 5);
  EXPECT_TRUE(std::ranges::all_of(batch.targets.terms,
                                  [](LossTerm term) { return term == LossTerm::kLanguage; }));
}

TEST(BatchMaker, GapQuestionsAreReadFromTheTextWithoutTheirSentence) {
  Mixture mixture = small_mixture();
  mixture.memory_tokens = 0;
  mixture.sequence_tokens = 40'000;
  mixture.alone_answers_share = 0;
  mixture.alone_gap_share = 1;
  mixture.lower_case_share = 0;
  const std::string answered = "The answer to the question is: ";
  std::set<bool> shows_title;
  std::set<bool> ends_retrieval;
  int seen = 0;
  for (int64_t step = 0; step < 3; ++step) {
    const Batch batch = maker_of(mixture).make(step);
    const auto all = learned(batch, LossTerm::kLanguage);
    for (size_t s = 0; s < batch.names.size(); ++s) {
      if (!batch.names[s].starts_with("gap of ")) continue;
      ++seen;
      const int32_t document = fixture().document(batch.names[s].substr(7));
      EXPECT_FALSE(corpus().is_held_back(document));
      const std::string text = text_of(batch.sequences, s);
      SCOPED_TRACE(text);
      // Question, id, passage, end of retrieval or not, the question again, answer.
      const size_t question_begin = text::kQuestionFront.size() + text.find("<|im_start|>user\n");
      const size_t question_end = text.find(text::kQuestionBack);
      ASSERT_EQ(text.find("<|im_start|>user\n"), 0U);
      ASSERT_NE(question_end, std::string::npos);
      const std::string id = id_of(text);
      const size_t passage_begin = text.find("<|object_ref_end|>[" + id + "]. ");
      ASSERT_NE(passage_begin, std::string::npos);
      const size_t answer_begin = text.rfind(answered) + answered.size();
      const std::string answer = text.substr(answer_begin, text.rfind("<|im_end|>") - answer_begin);
      const std::string passage =
          text.substr(passage_begin, text.find("\n<|", passage_begin) - passage_begin);
      EXPECT_NE(passage.find(answer), std::string::npos);
      EXPECT_EQ(text.substr(0, question_end).find(answer), std::string::npos);
      EXPECT_LT(question_begin, question_end);
      EXPECT_EQ(passage.find(corpus().text(document)), std::string::npos);
      const std::string title(corpus().title(document));
      shows_title.insert(passage.find("]. " + title + "\n") != std::string::npos);
      ends_retrieval.insert(text.find("<End-of-Retrieve>") != std::string::npos);
      EXPECT_TRUE(all.at(s).ends_with(answered + answer + "<|im_end|>"));
      // The answer and its end have the weight of answers, and nothing else has it.
      std::vector<int32_t> weighty;
      for (size_t i = 0; i < batch.targets.rows.size(); ++i) {
        const int32_t row = batch.targets.rows[i];
        if (row < batch.sequences.offsets[s] || row >= batch.sequences.offsets[s + 1]) continue;
        EXPECT_EQ(batch.targets.terms[i], LossTerm::kLanguage);
        if (batch.targets.weights[i] == mixture.weights.alone_answer) {
          weighty.push_back(batch.targets.tokens[i]);
        }
      }
      EXPECT_EQ(text_of(weighty), " " + answer + "<|im_end|>");
    }
  }
  EXPECT_GT(seen, 100);
  EXPECT_EQ(shows_title.size(), 2U);
  EXPECT_EQ(ends_retrieval.size(), 2U);
}

TEST(BatchMaker, GapQuestionsAreWrittenInTheirShare) {
  const auto count = [](double answers_share, double gap_share) {
    Mixture mixture = small_mixture();
    mixture.memory_tokens = 0;
    mixture.sequence_tokens = 80'000;
    mixture.alone_answers_share = answers_share;
    mixture.alone_gap_share = gap_share;
    mixture.sources = {{.documents = 1}, {.documents = 0}};  // articles: nearly all give one
    const Batch batch = maker_of(mixture).make(4);
    int gaps = 0;
    int asked = 0;
    for (const std::string& name : batch.names) {
      gaps += name.starts_with("gap of ") ? 1 : 0;
      asked += name.starts_with("q-") ? 1 : 0;
    }
    const auto all = static_cast<double>(batch.names.size());
    return std::pair{gaps / all, asked / all};
  };
  const double most = count(0, 1).first;
  EXPECT_GT(most, 0.4);
  EXPECT_NEAR(count(0, 0.3).first, 0.3 * most, 0.06);
  const auto [gaps, asked] = count(0.6, 0.4);
  EXPECT_NEAR(gaps, 0.4 * most, 0.06);
  EXPECT_NEAR(asked, 0.6, 0.06);
  EXPECT_EQ(count(0.6, 0).first, 0);
}

TEST(BatchMaker, SharesOfTokensAreKept) {
  Mixture mixture = small_mixture();
  mixture.sequence_tokens = 40'000;
  const Batch batch = maker_of(mixture).make(1);
  double reading = 0;
  double alone = 0;
  const auto answers = learned(batch, LossTerm::kAnswer);
  for (size_t s = 0; s < batch.names.size(); ++s) {
    const int32_t tokens = batch.sequences.offsets[s + 1] - batch.sequences.offsets[s];
    if (static_cast<int64_t>(s) >= batch.num_asking) alone += tokens;
    if (answers.contains(s)) reading += tokens;
  }
  EXPECT_NEAR(alone / 40'000, mixture.language_share, 0.02);
  EXPECT_NEAR(reading / 40'000, mixture.reading_share, 0.03);
}

TEST(BatchMaker, SourcesOfWeightZeroAreNotDrawn) {
  Mixture mixture = small_mixture();
  mixture.sources = {{.documents = 0, .questions = 1}, {.documents = 1, .questions = 1}};
  mixture.memory_tokens = 1'000;
  const Batch batch = maker_of(mixture).make(0);
  for (const std::string& document : texts_of(batch.documents)) {
    EXPECT_EQ(document.find("is a town"), std::string::npos) << document;
  }
  mixture.sources = {{.documents = 0, .questions = 1}, {.documents = 0, .questions = 1}};
  EXPECT_THROW(maker_of(mixture), Error);
}

TEST(BatchMaker, TitlesAreHiddenInTheirShare) {
  for (const double share : {0.0, 1.0}) {
    Mixture mixture = small_mixture();
    mixture.hidden_title_share = share;
    for (const std::string& document : texts_of(maker_of(mixture).make(0).documents)) {
      const bool shows = document.find(")\n") != std::string::npos;
      const bool is_town = document.find("is a town") != std::string::npos;
      EXPECT_TRUE(share == 0 ? shows || !is_town : !shows) << document;
    }
  }
}

TEST(BatchMaker, SimilarDocumentsEnterTogether) {
  Mixture mixture = small_mixture();
  mixture.similar_share = 1;
  mixture.memory_tokens = 1'500;
  BatchMaker maker = maker_of(mixture);
  std::vector<std::vector<int32_t>> groups;
  for (int32_t i = 0; i + 2 < 60; i += 3) {
    groups.push_back({i, i + 60, i + 90});
  }
  maker.set_similar(groups);
  const auto documents = texts_of(maker.make(0).documents);
  int whole = 0;
  for (const auto& group : groups) {
    int found = 0;
    for (const int32_t member : group) {
      for (const std::string& document : documents) {
        found += document.find(corpus().text(member)) != std::string::npos ? 1 : 0;
      }
    }
    whole += found == 3 ? 1 : 0;
  }
  EXPECT_GT(whole, 2);
  EXPECT_THROW(maker.set_similar({{-1}}), Error);
}

TEST(BatchMaker, LowerCaseIsUsedInItsShare) {
  Mixture mixture = small_mixture();
  mixture.lower_case_share = 1;
  const Batch batch = maker_of(mixture).make(0);
  for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
    const std::string text = text_of(batch.sequences, s);
    const size_t begin = text::kQuestionFront.size();
    const std::string question = text.substr(begin, text.find(text::kQuestionBack) - begin);
    EXPECT_EQ(question, corpus::lower_case(question));
  }
}

TEST(BatchMaker, RefusesMixturesOutOfRange) {
  const auto refused = [](auto&& change) {
    Mixture mixture = small_mixture();
    change(mixture);
    EXPECT_THROW(maker_of(mixture), Error);
  };
  refused([](Mixture& m) { m.reading_share = 1.5; });
  refused([](Mixture& m) { m.reading_share = 0.6, m.language_share = 0.5; });
  refused([](Mixture& m) { m.alone_gap_share = -0.1; });
  refused([](Mixture& m) { m.alone_answers_share = 0.6, m.alone_gap_share = 0.5; });
  refused([](Mixture& m) { m.invented_share = 1.1; });
  refused([](Mixture& m) { m.invented_question_share = -0.1; });
  refused([](Mixture& m) { m.no_answer_similar_share = 2; });
  refused([](Mixture& m) { m.ids_max_digits = 0; });
  refused([](Mixture& m) { m.sources.resize(3); });
  refused([](Mixture& m) { m.questions.span = -1; });
  refused([](Mixture& m) { m.weights.text = -0.5F; });
  refused([](Mixture& m) { m.memory_tokens = -1; });
  EXPECT_THROW(maker_of(small_mixture(), {.rank = 2, .world_size = 2}), Error);
  EXPECT_THROW(maker_of(small_mixture()).make(-1), Error);
  Mixture tiny = small_mixture();
  tiny.sequence_tokens = 8;
  EXPECT_THROW(maker_of(tiny).make(0), Error);
}

}  // namespace
}  // namespace msa::samples
