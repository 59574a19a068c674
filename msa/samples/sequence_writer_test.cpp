#include "msa/samples/sequence_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"

namespace msa::samples {
namespace {

const BatchFixture& fixture() {
  static const BatchFixture made(source_folder() / "models/msa-tiny");
  return made;
}

const TrainCorpus& corpus() { return fixture().corpus(); }
const text::PromptLayout& layout() { return fixture().layout(); }

/// What the engine holds after the same pieces: its calls of the layout in its order.
class EngineConversation {
 public:
  explicit EngineConversation(std::string_view question) : prompt(layout().question(question)) {}

  void write(const std::vector<int32_t>& tokens) {
    prompt.append({tokens, std::vector<int32_t>(tokens.size(), text::kResponseRole)});
  }
  void append_texts(std::vector<ShownDocument> shown) {
    std::ranges::sort(shown, {}, &ShownDocument::id);
    std::vector<std::string> kept;
    for (const ShownDocument& one : shown) {
      std::string text(corpus().text(one.document));
      const bool is_shown = one.title == TrainCorpus::Title::kShown;
      const std::string title(corpus().title(one.document));
      kept.push_back(is_shown && !title.empty() ? title + "\n" + text : text);
    }
    std::vector<text::AppendedText> texts;
    for (size_t i = 0; i < shown.size(); ++i) texts.push_back({shown[i].id, kept[i]});
    text::PromptLayout::settle(prompt.roles);
    prompt.append(layout().appended_texts(texts));
  }

  text::Prompt prompt;
};

ShownDocument shown(const std::string& name, int64_t id,
                    TrainCorpus::Title title = TrainCorpus::Title::kShown) {
  return {.document = fixture().document(name), .id = id, .title = title};
}

/// Learned tokens as text, by term; each is what follows its row.
std::map<LossTerm, std::string> learned(const TrainSequence& sequence) {
  std::map<LossTerm, std::vector<int32_t>> tokens;
  const Targets& targets = sequence.targets;
  EXPECT_TRUE(std::ranges::is_sorted(targets.rows));
  for (size_t i = 0; i < targets.rows.size(); ++i) {
    const auto row = static_cast<size_t>(targets.rows[i]);
    EXPECT_EQ(targets.tokens[i], sequence.prompt.tokens.at(row + 1));
    EXPECT_GT(targets.weights[i], 0);
    tokens[targets.terms[i]].push_back(targets.tokens[i]);
  }
  std::map<LossTerm, std::string> text;
  for (const auto& [term, ids] : tokens) text[term] = layout().tokenizer().decode(ids);
  return text;
}

std::vector<int32_t> positions_from(int64_t first, size_t count) {
  std::vector<int32_t> positions(count);
  for (size_t i = 0; i < count; ++i)
    positions[i] = static_cast<int32_t>(first) + static_cast<int32_t>(i);
  return positions;
}

void expect_equal(const text::Prompt& got, const text::Prompt& wanted) {
  EXPECT_EQ(layout().tokenizer().decode(got.tokens), layout().tokenizer().decode(wanted.tokens));
  EXPECT_EQ(got.tokens, wanted.tokens);
  EXPECT_EQ(got.roles, wanted.roles);
}

constexpr const char* kQuestion = "Who built it?";
constexpr Learned kIds{.term = LossTerm::kIds, .weight = 1};
constexpr Learned kText{.term = LossTerm::kReconstruction, .weight = 0.5F};
constexpr Learned kAnswered{.term = LossTerm::kAnswer, .weight = 2};

TEST(SequenceWriter, ADocumentAloneIsTheFramedOneLearnedBehindItsId) {
  SequenceWriter writer(layout(), corpus());
  writer.begin_alone();
  writer.add_document(shown("o-1", 4071), {.weight = 1});
  const TrainSequence& sequence = writer.sequence();
  const auto place = fixture().document("o-1");
  const std::string text =
      std::string(corpus().title(place)) + "\n" + std::string(corpus().text(place));
  EXPECT_EQ(sequence.prompt.tokens, layout().document(4071, text).tokens);
  EXPECT_EQ(sequence.positions, positions_from(0, sequence.prompt.tokens.size()));
  EXPECT_EQ(std::ranges::count(sequence.prompt.roles, text::kQuestionRole), 0);
  EXPECT_EQ(learned(sequence)[LossTerm::kLanguage], ". " + text + "[4071]<|im_end|>");
}

TEST(SequenceWriter, NamingIsTheQuestionAndWhatTheModelWritesInItsFirstRound) {
  SequenceWriter writer(layout(), corpus());
  const std::vector<int64_t> ids{907, 3};
  writer.begin_asked();
  const int64_t tokens = writer.add_question(kQuestion);
  writer.add_ids(ids, kIds);
  EngineConversation engine(kQuestion);
  engine.write(layout().named_documents(ids).tokens);
  const TrainSequence& sequence = writer.sequence();
  expect_equal(sequence.prompt, engine.prompt);
  EXPECT_EQ(tokens, static_cast<int64_t>(layout().tokenizer().encode("Who built it?\n").size()));
  EXPECT_EQ(sequence.positions,
            positions_from(layout().question_start(), sequence.prompt.tokens.size()));
  EXPECT_EQ(learned(sequence),
            (std::map<LossTerm, std::string>{{LossTerm::kIds, "[907][3]<|object_ref_end|>"}}));
}

TEST(SequenceWriter, ReadingIsARoundOfTextsByRisingIdAndTheAnswer) {
  const std::vector<ShownDocument> texts{shown("o-1", 55), shown("o-4", 7),
                                         shown("a-5-2", 31, TrainCorpus::Title::kHidden)};
  const std::vector<int64_t> ids{55, 7, 31};
  for (const bool ends : {true, false}) {
    SequenceWriter writer(layout(), corpus());
    writer.begin_asked();
    writer.add_question(kQuestion);
    writer.add_ids(ids);
    writer.add_texts(texts, kText);
    if (ends) writer.add_end_of_retrieve(kAnswered);
    EXPECT_EQ(writer.add_answer(kQuestion, "Bob", kAnswered, 0.1F),
              static_cast<int64_t>(layout().tokenizer().encode(" Bob").size()));
    EngineConversation engine(kQuestion);
    engine.write(layout().named_documents(ids).tokens);
    engine.append_texts(texts);
    if (ends) engine.write(layout().end_of_retrieve());
    engine.prompt.append(layout().answer_prompt(kQuestion));
    engine.prompt.append(layout().answer("Bob"));
    const TrainSequence& sequence = writer.sequence();
    expect_equal(sequence.prompt, engine.prompt);
    auto text = learned(sequence);
    EXPECT_EQ(text[LossTerm::kAnswer], std::string(ends ? "<End-of-Retrieve>" : "") +
                                           "The answer to the question is: Bob<|im_end|>");
    EXPECT_TRUE(text[LossTerm::kReconstruction].starts_with("[7]. "));
    EXPECT_LT(text[LossTerm::kReconstruction].find("[31]. "),
              text[LossTerm::kReconstruction].find("[55]. "));
    EXPECT_EQ(text.size(), 2U);
  }
}

TEST(SequenceWriter, ASecondRoundRoutesByTheQuestionAndTheLastTexts) {
  SequenceWriter writer(layout(), corpus());
  EngineConversation engine(kQuestion);
  writer.begin_asked();
  writer.add_question(kQuestion);
  for (const auto& [name, id] : {std::pair{"a-7-1", int64_t{12}}, {"a-7-2", int64_t{4}}}) {
    writer.add_ids(std::span(&id, 1));
    writer.add_texts({shown(name, id)});
    engine.write(layout().named_documents(std::span(&id, 1)).tokens);
    engine.append_texts({shown(name, id)});
  }
  const std::vector<int64_t> last{99};
  writer.add_ids(last, kIds);
  engine.write(layout().named_documents(last).tokens);
  expect_equal(writer.sequence().prompt, engine.prompt);
  EXPECT_EQ(learned(writer.sequence())[LossTerm::kIds], "[99]<|object_ref_end|>");
}

TEST(SequenceWriter, AConversationAloneBeginsWithTheHeadAndAnswersSeveralQuestions) {
  SequenceWriter writer(layout(), corpus());
  const std::vector<int64_t> ids{18};
  writer.begin_alone();
  writer.add_question(kQuestion, {.weight = 0.3F});
  writer.add_ids(ids);
  writer.add_texts({shown("o-2", 18)}, {.weight = 0.7F});
  writer.add_answer(kQuestion, "Bob", {.weight = 4}, 1);
  writer.add_answer("Where is it", "in Rome", {.weight = 4}, 1);
  EngineConversation engine(kQuestion);
  engine.write(layout().named_documents(ids).tokens);
  engine.append_texts({shown("o-2", 18)});
  engine.prompt.append(layout().answer_prompt(kQuestion));
  engine.prompt.append(layout().answer("Bob"));
  engine.prompt.append(layout().answer_prompt("Where is it"));
  engine.prompt.append(layout().answer("in Rome"));
  text::Prompt wanted = layout().prompt_head();
  const size_t head = wanted.tokens.size();
  wanted.append(engine.prompt);
  const TrainSequence& sequence = writer.sequence();
  EXPECT_EQ(sequence.prompt.tokens, wanted.tokens);
  auto positions = positions_from(0, head);
  const auto more = positions_from(layout().question_start(), wanted.tokens.size() - head);
  positions.insert(positions.end(), more.begin(), more.end());
  EXPECT_EQ(sequence.positions, positions);
  const std::string text = learned(sequence)[LossTerm::kLanguage];
  EXPECT_TRUE(text.starts_with("Who built it?\n[18]. ")) << text;
  EXPECT_TRUE(
      text.ends_with("The answer to the question is: Bob<|im_end|>The answer to the "
                     "question is: in Rome<|im_end|>"))
      << text;
}

TEST(SequenceWriter, ATextIsWrittenAsADocumentOfItsWords) {
  for (const char* name : {"o-1", "o-4", "a-5-2"}) {
    const auto place = fixture().document(name);
    const std::string title(corpus().title(place));
    const std::string text =
        (title.empty() ? "" : title + "\n") + std::string(corpus().text(place));
    SequenceWriter of_document(layout(), corpus());
    SequenceWriter of_text(layout(), corpus());
    const std::vector<int64_t> ids{4071};
    for (SequenceWriter* writer : {&of_document, &of_text}) {
      writer->begin_alone();
      writer->add_question(kQuestion);
      writer->add_ids(ids);
    }
    of_document.add_texts({shown(name, 4071)}, kText);
    of_text.add_text(4071, text, kText);
    expect_equal(of_text.sequence().prompt, of_document.sequence().prompt);
    EXPECT_EQ(of_text.sequence().positions, of_document.sequence().positions);
    EXPECT_EQ(of_text.sequence().targets.rows, of_document.sequence().targets.rows);
    EXPECT_EQ(learned(of_text.sequence()), learned(of_document.sequence()));
    EXPECT_EQ(learned(of_text.sequence())[LossTerm::kReconstruction], "[4071]. " + text + "\n");
  }
}

TEST(SequenceWriter, SequencesOfABatchKeepTheirRowsAndGold) {
  SequenceWriter writer(layout(), corpus());
  Batch batch;
  batch.head = layout().prompt_head().tokens;
  for (const char* name : {"o-1", "o-2", "o-3"}) {
    std::vector<int32_t> tokens;
    corpus().append_document(fixture().document(name), 5, TrainCorpus::Title::kShown, tokens);
    batch.documents.add(tokens, 0);
  }
  const std::vector<int32_t> gold{2, 0};
  const std::vector<int64_t> ids{1, 2};
  writer.begin_asked();
  writer.add_question(kQuestion);
  writer.add_ids(ids, kIds);
  const TrainSequence first = writer.sequence();
  add_asked(first, gold, "first", batch);
  add_asked(first, {}, "second", batch);
  writer.begin_alone();
  writer.add_document(shown("o-4", 3), {.weight = 1});
  add_alone(writer.sequence(), "third", batch);
  check(batch, layout().tokenizer().vocab_size());
  const auto size = static_cast<int32_t>(first.prompt.tokens.size());
  EXPECT_EQ(batch.num_asking, 2);
  EXPECT_EQ(batch.gold, gold);
  EXPECT_EQ(batch.gold_offsets, (std::vector<int32_t>{0, 2, 2}));
  EXPECT_EQ(batch.sequences.offsets[1], size);
  const auto routing = std::ranges::count(first.prompt.roles, text::kQuestionRole);
  EXPECT_EQ(batch.query_offsets, (std::vector<int32_t>{0, static_cast<int32_t>(routing),
                                                       static_cast<int32_t>(2 * routing)}));
  EXPECT_EQ(batch.query_rows[static_cast<size_t>(routing)], size);
  for (size_t i = 0; i < batch.targets.rows.size(); ++i) {
    const auto row = static_cast<size_t>(batch.targets.rows[i]);
    EXPECT_EQ(batch.targets.tokens[i], batch.sequences.tokens.at(row + 1));
  }
  EXPECT_EQ(batch.names, (std::vector<std::string>{"first", "second", "third"}));
}

}  // namespace
}  // namespace msa::samples
