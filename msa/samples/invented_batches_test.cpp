#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "msa/samples/batch_texts.h"
#include "msa/samples/memory_drawer.h"
#include "msa/samples/phrases.h"
#include "msa/samples/renaming.h"

namespace msa::samples {
namespace {

Mixture telling_mixture(double share = 0.6) {
  Mixture mixture = small_mixture();
  mixture.invented_share = share;
  mixture.invented_question_share = 1;
  mixture.lower_case_share = 0;
  return mixture;
}

/// The memory of a batch: its maker draws it first.
DrawnMemory memory_of(const Mixture& mixture, uint64_t seed, int64_t step) {
  Random random(seed, {static_cast<uint64_t>(step)});
  return MemoryDrawer(corpus(), mixture).draw_memory({}, random);
}

size_t count_of(std::string_view text, std::string_view words) {
  size_t count = 0;
  for (size_t place = 0; (place = text.find(words, place)) != std::string_view::npos; ++place) {
    ++count;
  }
  return count;
}

/// The document that an invented question was asked for; -1 for other questions.
int32_t asked_for(const std::string& name) {
  const std::string front = "invented for ";
  return name.starts_with(front) ? fixture().document(name.substr(front.size())) : -1;
}

TEST(InventedBatches, EveryFactIsInItsEncodedDocumentOnceAndInNoOther) {
  int num_facts = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const Mixture mixture = telling_mixture();
    const BatchMaker maker = maker_of(mixture, {.seed = seed});
    for (int64_t step = 0; step < 3; ++step) {
      const DrawnMemory memory = memory_of(mixture, seed, step);
      const Batch batch = maker.make(step);
      check(batch, fixture().layout().tokenizer().vocab_size());
      EXPECT_LE(batch.documents.num_tokens(), mixture.memory_tokens);
      const auto documents = texts_of(batch.documents);
      ASSERT_EQ(documents.size(), memory.documents().size());
      std::string all;
      for (const std::string& document : documents) all += document;
      const std::string learned_text = text_of(batch.document_targets.tokens);
      for (size_t place = 0; place < documents.size(); ++place) {
        const ShownDocument& shown = memory.documents()[place];
        const InventedFact* fact = memory.fact_of(static_cast<int32_t>(place));
        EXPECT_EQ(fact != nullptr, shown.told != nullptr);
        EXPECT_NE(documents[place].find(passage_of(corpus(), shown)), std::string::npos);
        if (fact == nullptr) continue;
        ++num_facts;
        EXPECT_EQ(count_of(documents[place], fact->sentence), 1U) << documents[place];
        EXPECT_EQ(count_of(all, fact->sentence), 1U) << fact->sentence;
        EXPECT_EQ(count_of(learned_text, fact->sentence), 1U) << fact->sentence;
        EXPECT_EQ(shown.told->size(),
                  corpus().text(shown.document).size() + fact->sentence.size() + 1);
        EXPECT_FALSE(
            has_words(ascii_lower(corpus().text(shown.document)), ascii_lower(fact->name)));
      }
    }
  }
  EXPECT_GT(num_facts, 300);
}

TEST(InventedBatches, AQuestionNamesItsDocumentAndReadsWhatItTells) {
  int num_named = 0;
  int num_read = 0;
  int beside_telling = 0;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Mixture mixture = telling_mixture();
    mixture.renamed_share = 0.5;
    const BatchMaker maker = maker_of(mixture, {.seed = seed});
    for (int64_t step = 0; step < 3; ++step) {
      const DrawnMemory memory = memory_of(mixture, seed, step);
      const Batch batch = maker.make(step);
      const auto ids = learned(batch, LossTerm::kIds);
      const auto answers = learned(batch, LossTerm::kAnswer);
      for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
        const int32_t document = asked_for(batch.names[s]);
        if (document < 0) continue;
        const int32_t place = memory.place_of(document);
        const InventedFact* fact = memory.fact_of(place);
        ASSERT_NE(fact, nullptr) << batch.names[s];
        const ShownDocument& shown = memory.documents()[static_cast<size_t>(place)];
        const std::string text = text_of(batch.sequences, s);
        SCOPED_TRACE(text);
        const std::string question = text.substr(0, text.find(text::kQuestionBack));
        EXPECT_TRUE(has_words(question, fact->name));
        EXPECT_FALSE(has_words(question, fact->answer));
        if (ids.contains(s)) {
          EXPECT_EQ(ids.at(s), "[" + std::to_string(shown.id) + "]<|object_ref_end|>");
          const auto gold = gold_of(batch, s);
          const bool reads_in_vain = count_of(text, "]") > 1;
          EXPECT_EQ(gold, reads_in_vain ? std::vector<size_t>{}
                                        : std::vector<size_t>{static_cast<size_t>(place)});
          ++num_named;
          continue;
        }
        // The text as the memory has it, and the answer from there.
        const std::string appended =
            "[" + std::to_string(shown.id) + "]. " + shown_text(corpus(), shown) + "\n";
        EXPECT_EQ(count_of(text, appended), 1U);
        EXPECT_EQ(count_of(text, fact->sentence), 1U);
        EXPECT_TRUE(answers.at(s).ends_with(" " + fact->answer + "<|im_end|>"));
        EXPECT_TRUE(gold_of(batch, s).empty());
        ++num_read;
        for (const int32_t other : memory.telling()) {
          const bool is_read = text.find(memory.fact_of(other)->sentence) != std::string::npos;
          beside_telling += other != place && is_read ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GT(num_named, 500);
  EXPECT_GT(num_read, 50);
  EXPECT_GT(beside_telling, 20);
}

TEST(InventedBatches, TheCorpusStaysAsItIsAndStepsTellOfOtherNames) {
  const Mixture mixture = telling_mixture(1);
  const BatchMaker maker = maker_of(mixture);
  const Batch first = maker.make(0);
  std::set<std::string> names;
  for (int64_t step = 0; step < 4; ++step) {
    const DrawnMemory memory = memory_of(mixture, 3, step);
    for (const int32_t place : memory.telling()) {
      const InventedFact& fact = *memory.fact_of(place);
      EXPECT_TRUE(names.insert(fact.sentence).second) << fact.sentence;
    }
    // The last may have room for its own text alone.
    EXPECT_GE(memory.telling().size() + 2, memory.documents().size());
  }
  EXPECT_TRUE(are_equal(maker.make(0), first));
  Mixture without = mixture;
  without.invented_share = 0;
  const Batch plain = maker_of(without).make(0);
  for (const std::string& text : texts_of(plain.documents)) {
    for (const std::string& sentence : names) EXPECT_EQ(text.find(sentence), std::string::npos);
  }
}

TEST(InventedBatches, SharesAreHeld) {
  size_t telling = 0;
  size_t documents = 0;
  int invented = 0;
  int asked = 0;
  for (int64_t step = 0; step < 10; ++step) {
    Mixture mixture = telling_mixture(0.25);
    mixture.invented_question_share = 0.4;
    mixture.language_share = 0;
    mixture.reading_share = 0;
    const DrawnMemory memory = memory_of(mixture, 3, step);
    telling += memory.telling().size();
    documents += memory.documents().size();
    const Batch batch = maker_of(mixture).make(step);
    for (size_t s = 0; s < static_cast<size_t>(batch.num_asking); ++s) {
      invented += asked_for(batch.names[s]) >= 0 ? 1 : 0;
      ++asked;
    }
    mixture.invented_question_share = 0;
    for (const std::string& name : maker_of(mixture).make(step).names) {
      EXPECT_LT(asked_for(name), 0) << name;
    }
  }
  const double told = static_cast<double>(telling) / static_cast<double>(documents);
  EXPECT_GT(told, 0.2);
  EXPECT_LT(told, 0.3);
  const double share = static_cast<double>(invented) / asked;
  EXPECT_GT(share, 0.06);
  EXPECT_LT(share, 0.16);
}

TEST(InventedBatches, NoTextGrowsPastTheLongestOfACorpus) {
  const ScratchFolder scratch("invented_limits");
  std::string lines;
  for (int i = 0; i < 120; ++i) {
    std::string text;
    for (int n = 0; n <= i % 12; ++n) text += "The street " + std::to_string(n) + " is long. ";
    text += "House " + std::to_string(i) + ".";
    lines += R"({"id":"d)" + std::to_string(i) + R"(","title":"","text":")" + text + "\"}\n";
  }
  TrainCorpusOptions options;
  options.sources = {{.name = "s", .documents = scratch.write("s.jsonl", lines), .questions = {}}};
  options.cache = scratch.path() / "cache";
  options.max_document_tokens = 64;
  options.num_threads = 1;
  const text::PromptLayout& layout = fixture().layout();
  const auto small = TrainCorpus::open(real_file_system(), layout, options);
  const Mixture mixture = telling_mixture(1);
  int64_t longest = 0;
  size_t plain = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Random random(seed, {});
    const DrawnMemory memory = MemoryDrawer(*small, mixture).draw_memory({}, random);
    for (const ShownDocument& shown : memory.documents()) {
      const auto tokens = layout.tokenizer().encode(passage_of(*small, shown)).size();
      longest = std::max(longest, static_cast<int64_t>(tokens));
    }
    EXPECT_GT(memory.telling().size(), 20U);
    plain += memory.documents().size() - memory.telling().size();
  }
  EXPECT_LE(longest, 64);
  EXPECT_GT(longest, 58);
  EXPECT_GT(plain, 50U);
}

TEST(InventedBatches, TheFormOfTheMeasureIsInNoBatch) {
  for (int64_t step = 0; step < 8; ++step) {
    const Batch batch = maker_of(telling_mixture(1)).make(step);
    for (const PackedTokens* packed : {&batch.documents, &batch.sequences}) {
      for (const std::string& text : texts_of(*packed)) {
        EXPECT_EQ(ascii_lower(text).find("secret"), std::string::npos) << text;
      }
    }
  }
}

}  // namespace
}  // namespace msa::samples
