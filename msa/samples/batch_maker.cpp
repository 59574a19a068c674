#include "msa/samples/batch_maker.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"
#include "msa/samples/document_ids.h"
#include "msa/samples/random.h"
#include "msa/samples/sequence_writer.h"

namespace msa::samples {
namespace {

/// Draws in a row that give nothing or too much, before a share is taken for full.
constexpr int kMaxMisses = 32;

constexpr size_t kMaxTexts = 3;  // of a reading sequence
constexpr int64_t kNearPlaces = 2;
constexpr double kTellingShare = 0.5;  // of texts beside one that tells of an invented name

}  // namespace

struct BatchMaker::Making {
  Random random;
  DrawnMemory memory;
  std::vector<double> place_ends;
  SequenceWriter writer;
  Batch batch;
  int64_t max_tokens = 0;  // of all sequences

  const ShownDocument& shown(int32_t place) const {
    return memory.documents()[static_cast<size_t>(place)];
  }
  int32_t draw_place() { return QuestionDrawer::draw_place(place_ends, random); }
};

BatchMaker::BatchMaker(const TrainCorpus& corpus, const text::PromptLayout& layout,
                       const Mixture& mixture, const BatchMakerOptions& options)
    : corpus_(corpus),
      layout_(layout),
      mixture_((check(mixture, corpus.num_sources()), mixture)),
      options_(options),
      documents_(corpus, mixture),
      questions_(corpus, documents_, mixture),
      alone_(corpus, questions_, mixture) {
  MSA_CHECK(options.world_size >= 1 && options.rank >= 0 && options.rank < options.world_size,
            "rank must be in [0, ", options.world_size, "), got ", options.rank);
}

void BatchMaker::set_similar(std::vector<std::vector<int32_t>> groups) {
  for (auto& group : groups) {
    for (const int32_t document : group) {
      MSA_CHECK(document >= 0 && document < corpus_.num_documents(),
                "a similar document must be in [0, ", corpus_.num_documents(), "), got ", document);
    }
    std::erase_if(group, [&](int32_t document) { return !documents_.may_enter(document); });
  }
  std::erase_if(groups, [](const auto& group) { return group.empty(); });
  similar_ = std::move(groups);
}

void BatchMaker::expect_not_held_back(int32_t document) const {
  if (!corpus_.is_held_back(document)) return;
  throw Error(ErrorCode::kInternal, "the held-back document ", corpus_.document_name(document),
              " was drawn for training");
}

bool BatchMaker::fits(int64_t question_tokens, Making& making, int64_t answer_tokens) const {
  const int64_t tokens = making.writer.num_tokens();
  return question_tokens <= mixture_.max_question_tokens &&
         answer_tokens <= mixture_.max_answer_tokens && tokens <= mixture_.max_sequence_tokens &&
         making.batch.sequences.num_tokens() + tokens <= making.max_tokens;
}

/// The question alone, and the ids of all that supports it; of alternatives one.
bool BatchMaker::write_naming(const DrawnQuestion& question, Making& making) const {
  SequenceWriter& writer = making.writer;
  std::vector<int64_t> ids;
  if (question.needs_all_gold) {
    for (const int32_t place : question.gold) ids.push_back(making.shown(place).id);
  } else {
    ids.push_back(making.shown(question.place).id);
  }
  writer.begin_asked();
  const int64_t tokens = writer.add_question(question.text);
  writer.add_ids(ids, {.term = LossTerm::kIds, .weight = 1});
  if (!fits(tokens, making)) return false;
  add_asked(writer.sequence(), question.gold, question.name, making.batch);
  return true;
}

/// The texts of the documents in the places `read` have been read, one a round; the document `next`
/// is to be named. A text that was read routes to its own document, which is no fault: with those
/// of the hops before as gold it costs nothing, and where one was read in vain nothing is gold.
bool BatchMaker::write_hop(const DrawnQuestion& question, std::span<const int32_t> read,
                           int32_t next, Making& making) const {
  SequenceWriter& writer = making.writer;
  writer.begin_asked();
  const int64_t tokens = writer.add_question(question.text);
  for (const int32_t place : read) {
    const ShownDocument& shown = making.shown(place);
    writer.add_ids(std::span(&shown.id, 1));
    writer.add_texts({shown}, {.term = LossTerm::kReconstruction, .weight = mixture_.weights.text});
  }
  writer.add_ids(std::span(&making.shown(next).id, 1), {.term = LossTerm::kIds, .weight = 1});
  if (!fits(tokens, making)) return false;
  std::vector<int32_t> gold(read.begin(), read.end());
  gold.push_back(next);
  const bool is_all_gold = std::ranges::all_of(gold, [&](int32_t place) {
    return std::ranges::find(question.gold, place) != question.gold.end();
  });
  if (!is_all_gold) gold.clear();
  add_asked(writer.sequence(), gold, question.name, making.batch);
  return true;
}

/// Places of `count` documents or fewer that do not answer. Those near in the memory were often
/// drawn for being alike.
std::vector<int32_t> BatchMaker::draw_distractors(const DrawnQuestion& question, int64_t count,
                                                  Making& making) const {
  std::vector<int32_t> others;
  Random& random = making.random;
  const auto num_places = static_cast<int64_t>(making.memory.documents().size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t near = (question.place + random.between(1, kNearPlaces)) % num_places;
    // Those that tell of other invented names look like the right one.
    const bool is_invented = question.is_invented && random.chance(kTellingShare);
    const auto place = is_invented          ? random.pick(making.memory.telling())
                       : random.chance(0.5) ? static_cast<int32_t>(near)
                                            : static_cast<int32_t>(random.below(num_places));
    const bool is_new = std::ranges::find(question.gold, place) == question.gold.end() &&
                        std::ranges::find(others, place) == others.end();
    if (is_new) others.push_back(place);
  }
  return others;
}

/// Texts in one round or one a round, the end of retrieval or not, the answer.
bool BatchMaker::write_reading(const DrawnQuestion& question, bool is_by_hops,
                               Making& making) const {
  SequenceWriter& writer = making.writer;
  Random& random = making.random;
  std::vector<int32_t> places{question.place};
  if (question.needs_all_gold) places = question.gold;
  std::vector<std::vector<int32_t>> rounds;
  if (is_by_hops) {
    for (const int32_t place : places) rounds.push_back({place});
  } else {
    rounds.push_back(places);
  }
  if (places.size() < kMaxTexts && random.chance(mixture_.distractor_share)) {
    const int64_t count = random.between(1, static_cast<int64_t>(kMaxTexts - places.size()));
    std::vector<int32_t> others = draw_distractors(question, count, making);
    if (!others.empty() && random.chance(mixture_.retry_share)) {
      rounds.insert(rounds.begin(), std::move(others));  // read in vain, and then asked again
    } else {
      for (const int32_t other : others) random.pick(rounds).push_back(other);
    }
  }
  const Learned text{.term = LossTerm::kReconstruction, .weight = mixture_.weights.text};
  std::string answer = question.answer;
  std::vector<Renaming> renamings;
  if (mixture_.renamed_share > 0 && !question.is_invented) {
    std::vector<std::string> gold;
    std::vector<std::string> others;
    for (const auto& round : rounds) {
      for (const int32_t place : round) {
        const bool is_gold = std::ranges::find(places, place) != places.end();
        (is_gold ? gold : others).push_back(shown_text(corpus_, making.shown(place)));
      }
    }
    if (auto found = questions_.draw_renaming(question.text, answer, gold, others, random)) {
      answer = found->to;
      renamings.push_back(std::move(*found));
    }
  }
  writer.begin_asked();
  const int64_t question_tokens = writer.add_question(question.text);
  for (auto& round : rounds) {
    random.shuffle(round);
    std::vector<int64_t> ids;
    std::vector<ShownDocument> texts;
    for (const int32_t place : round) {
      ids.push_back(making.shown(place).id);
      texts.push_back(making.shown(place));
    }
    writer.add_ids(ids);
    writer.add_texts(std::move(texts), text, renamings);
  }
  if (random.chance(mixture_.end_of_retrieve_share)) {
    writer.add_end_of_retrieve(
        {.term = LossTerm::kAnswer, .weight = mixture_.weights.end_of_retrieve});
  }
  const int64_t answer_tokens = writer.add_answer(
      question.text, answer, {.term = LossTerm::kAnswer, .weight = mixture_.weights.answer},
      mixture_.weights.answer_frame);
  if (!fits(question_tokens, making, answer_tokens)) return false;
  add_asked(writer.sequence(), {}, question.name, making.batch);
  return true;
}

/// Nothing in the memory answers: nothing is named, or texts that do not help were read, at once or
/// one a round.
bool BatchMaker::write_no_answer(const DrawnQuestion& question, Making& making) const {
  SequenceWriter& writer = making.writer;
  writer.begin_asked();
  const int64_t tokens = writer.add_question(question.text);
  const auto num_texts = question.read_in_vain.size();
  const bool is_one_by_one = num_texts > 1 && making.random.chance(0.5);
  const size_t round_texts = is_one_by_one ? 1 : num_texts;
  for (size_t first = 0; first < num_texts; first += round_texts) {
    std::vector<int64_t> ids;
    std::vector<ShownDocument> texts;
    for (const int32_t place : std::span(question.read_in_vain).subspan(first, round_texts)) {
      ids.push_back(making.shown(place).id);
      texts.push_back(making.shown(place));
    }
    writer.add_ids(ids);
    writer.add_texts(std::move(texts),
                     {.term = LossTerm::kReconstruction, .weight = mixture_.weights.text});
  }
  writer.add_end_of_retrieve(
      {.term = LossTerm::kAnswer, .weight = mixture_.weights.end_of_retrieve});
  writer.add_answer(question.text, question.answer,
                    {.term = LossTerm::kAnswer, .weight = mixture_.weights.answer},
                    mixture_.weights.answer_frame);
  if (!fits(tokens, making)) return false;
  add_asked(writer.sequence(), {}, question.name, making.batch);
  return true;
}

/// Every question over two documents once, at one of its three steps.
void BatchMaker::add_chains(Making& making) const {
  for (const ChainQuestion& chain : making.memory.chains) {
    const DrawnQuestion question{
        .text = questions_.styled(chain.text, making.random),
        .answer = chain.answer,
        .gold = {making.memory.place_of(chain.first), making.memory.place_of(chain.second)},
        .place = making.memory.place_of(chain.first),
        .read_in_vain = {},
        .name = "over two documents: " + std::string(corpus_.document_name(chain.first))};
    const auto step = static_cast<size_t>(making.random.below(3));
    if (step < 2) {
      write_hop(question, std::span(question.gold).first(step), question.gold[step], making);
    } else {
      write_reading(question, true, making);
    }
  }
}

void BatchMaker::add_reading(Making& making, int64_t end_tokens) const {
  int misses = 0;
  while (misses < kMaxMisses && making.batch.sequences.num_tokens() < end_tokens) {
    bool is_written = false;
    if (making.random.chance(mixture_.no_answer_share)) {
      const auto question =
          questions_.draw_unanswerable(making.memory, making.place_ends, making.random);
      is_written = question && write_no_answer(*question, making);
    } else {
      const auto question = questions_.draw(making.memory, making.draw_place(),
                                            QuestionDrawer::Wanted::kAnswered, making.random);
      if (question) {
        const bool is_by_hops = question->needs_all_gold && question->gold.size() > 1 &&
                                making.random.chance(mixture_.hop_share);
        is_written = write_reading(*question, is_by_hops, making);
      }
    }
    misses = is_written ? 0 : misses + 1;
  }
}

bool BatchMaker::add_named(const DrawnQuestion& question, Making& making) const {
  Random& random = making.random;
  if (question.needs_all_gold && question.gold.size() > 1 && random.chance(mixture_.hop_share)) {
    const auto hop = static_cast<size_t>(random.below(static_cast<int64_t>(question.gold.size())));
    return write_hop(question, std::span(question.gold).first(hop), question.gold[hop], making);
  }
  if (question.gold.size() == 1 && random.chance(mixture_.retry_share)) {
    const std::vector<int32_t> vain = draw_distractors(question, 1, making);
    if (!vain.empty()) return write_hop(question, vain, question.gold[0], making);
  }
  return write_naming(question, making);
}

void BatchMaker::add_naming(Making& making, int64_t end_tokens) const {
  making.max_tokens = end_tokens;
  for (int misses = 0; misses < kMaxMisses;) {
    const auto question = questions_.draw(making.memory, making.draw_place(),
                                          QuestionDrawer::Wanted::kAny, making.random);
    misses = question && add_named(*question, making) ? 0 : misses + 1;
  }
  making.max_tokens = mixture_.sequence_tokens;
}

void BatchMaker::add_language(Making& making) const {
  const double answers_end = mixture_.alone_answers_share;
  const double gap_end = answers_end + mixture_.alone_gap_share;
  SequenceWriter& writer = making.writer;
  const auto add = [&](const std::optional<AloneSequence>& written) {
    if (!written || !fits(written->question_tokens, making, written->answer_tokens)) return false;
    add_alone(writer.sequence(), written->name, making.batch);
    return true;
  };
  for (int misses = 0; misses < kMaxMisses;) {
    Random& random = making.random;
    const int32_t document = documents_.draw(random);
    expect_not_held_back(document);
    const double way = random.uniform();
    bool is_added = false;
    if (way < answers_end) {
      is_added = add(alone_.write_answers(document, random, writer));
    } else if (way < gap_end) {
      is_added = add(alone_.write_gap(document, random, writer));
    }
    is_added = is_added || add(alone_.write_document(document, random, writer));
    misses = is_added ? 0 : misses + 1;
  }
}

Batch BatchMaker::make(int64_t step) const {
  MSA_CHECK(step >= 0, "a step must not be negative, got ", step);
  const auto number = static_cast<uint64_t>(step * options_.world_size + options_.rank);
  Random random(options_.seed, {number});
  const bool has_memory = mixture_.memory_tokens > 0;
  DrawnMemory memory = has_memory ? documents_.draw_memory(similar_, random) : DrawnMemory(corpus_);
  Making making{.random = random,
                .memory = std::move(memory),
                .place_ends = {},
                .writer = SequenceWriter(layout_, corpus_),
                .batch = {},
                .max_tokens = mixture_.sequence_tokens};
  Batch& batch = making.batch;
  batch.head = layout_.prompt_head().tokens;
  std::vector<int32_t> tokens;
  for (const ShownDocument& shown : making.memory.documents()) {
    expect_not_held_back(shown.document);
    tokens.clear();
    append_document(corpus_, shown, tokens);
    const int32_t first = batch.documents.offsets.back();
    for (size_t i = opening_tokens(shown.id); i < tokens.size(); ++i) {
      batch.document_targets.add(first + static_cast<int32_t>(i) - 1, tokens[i], 1,
                                 LossTerm::kDocuments);
    }
    batch.documents.add(tokens, 0);
  }
  if (has_memory) {
    making.place_ends = questions_.place_ends(making.memory);
    const auto share = [&](double part) {
      return static_cast<int64_t>(part * static_cast<double>(mixture_.sequence_tokens));
    };
    if (making.place_ends.back() > 0) {  // a document may be asked
      add_chains(making);
      add_reading(making, share(mixture_.reading_share));
      add_naming(making, mixture_.sequence_tokens - share(mixture_.language_share));
    }
  }
  if (!has_memory || mixture_.language_share > 0) add_language(making);
  MSA_CHECK(batch.sequences.num_sequences() > 0, "no sequence fits into ", mixture_.sequence_tokens,
            " tokens");
  check(batch, layout_.tokenizer().vocab_size());
  return std::move(batch);
}

}  // namespace msa::samples
