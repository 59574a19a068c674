#include "msa/samples/question_drawer.h"

#include <algorithm>
#include <array>

#include "msa/corpus/words.h"
#include "msa/samples/facts.h"
#include "msa/samples/phrases.h"

namespace msa::samples {
namespace {

constexpr int kMaxTries = 8;
constexpr int kMaxRenamingTries = 48;
constexpr int64_t kBeside = 3;  // passages to either side, of the same title
constexpr size_t kMinTellingBytes = 4;
constexpr int64_t kMaxReadInVain = 3;

struct MadeShare {
  MadeKind kind;
  double QuestionShares::*share;
  std::string_view name;
};

constexpr std::array<MadeShare, 5> kMadeShares{{
    {MadeKind::kSpan, &QuestionShares::span, "span"},
    {MadeKind::kWords, &QuestionShares::words, "words"},
    {MadeKind::kTitle, &QuestionShares::title, "title"},
    {MadeKind::kCloze, &QuestionShares::cloze, "cloze"},
    {MadeKind::kFact, &QuestionShares::fact, "fact"},
}};

size_t place_in(const std::vector<double>& ends, Random& random) {
  const double point = random.uniform() * ends.back();
  const auto place = std::upper_bound(ends.begin(), ends.end(), point) - ends.begin();
  return std::min(static_cast<size_t>(place), ends.size() - 1);
}

bool gives_answer(MadeKind kind) { return kind == MadeKind::kCloze || kind == MadeKind::kFact; }

}  // namespace

std::string_view shortest_answer(const TrainQuestion& question) {
  std::string_view best;
  for (const std::string_view answer : question.answers) {
    if (!answer.empty() && (best.empty() || answer.size() < best.size())) best = answer;
  }
  return best;
}

bool is_telling(std::string_view answer) { return answer.size() >= kMinTellingBytes; }

bool answers_too(const TrainCorpus& corpus, const WrittenQuestion& asked, int32_t document) {
  const auto& gold = asked.question.documents;
  if (std::ranges::find(gold, document) != gold.end()) return true;
  const std::string text = corpus::lower_case(corpus.text(document));
  const bool holds_answer =
      std::ranges::any_of(asked.question.answers, [&](std::string_view answer) {
        return is_telling(answer) && text.find(corpus::lower_case(answer)) != std::string::npos;
      });
  if (holds_answer) return true;
  if (is_telling(asked.answer)) return false;
  const std::string_view title = plain_title(corpus.title(document));
  return std::ranges::any_of(gold,
                             [&](int32_t one) { return plain_title(corpus.title(one)) == title; });
}

QuestionDrawer::QuestionDrawer(const TrainCorpus& corpus, const MemoryDrawer& documents,
                               const Mixture& mixture)
    : corpus_(corpus), documents_(documents), mixture_(mixture) {
  double end = 0;
  for (int64_t source = 0; source < corpus.num_sources(); ++source) {
    end += weight_of(source) * static_cast<double>(corpus.questions_of_source(source).size());
    question_ends_.push_back(end);
  }
}

double QuestionDrawer::weight_of(int64_t source) const {
  return mixture_.sources.empty() ? 1 : mixture_.sources[static_cast<size_t>(source)].questions;
}

bool QuestionDrawer::may_ask(const TrainQuestion& question) const {
  return std::ranges::all_of(question.documents,
                             [&](int32_t gold) { return documents_.may_enter(gold); });
}

std::string QuestionDrawer::styled(std::string_view question, Random& random) const {
  return random.chance(mixture_.lower_case_share) ? as_typed(question, random)
                                                  : std::string(question);
}

std::vector<double> QuestionDrawer::place_ends(const DrawnMemory& memory) const {
  std::vector<double> ends;
  double end = 0;
  for (const ShownDocument& shown : memory.documents()) {
    end += weight_of(corpus_.source_of(shown.document));
    ends.push_back(end);
  }
  return ends;
}

int32_t QuestionDrawer::draw_place(const std::vector<double>& place_ends, Random& random) {
  return static_cast<int32_t>(place_in(place_ends, random));
}

std::optional<DrawnQuestion> QuestionDrawer::written(const DrawnMemory& memory, int32_t place,
                                                     Wanted wanted, Random& random) const {
  const auto questions =
      corpus_.questions_of(memory.documents()[static_cast<size_t>(place)].document);
  if (questions.empty()) return std::nullopt;
  std::vector<double> ends;
  double end = 0;
  for (const int32_t number : questions) {
    const bool may_be_asked = !corpus_.is_question_held_back(number);
    end += may_be_asked ? weight_of(corpus_.question(number).source) : 0;
    ends.push_back(end);
  }
  if (end <= 0) return std::nullopt;
  for (int i = 0; i < kMaxTries; ++i) {
    const int32_t number = questions[place_in(ends, random)];
    if (corpus_.is_question_held_back(number)) continue;
    const TrainQuestion question = corpus_.question(number);
    const std::string_view answer = shortest_answer(question);
    if ((wanted == Wanted::kAnswered && answer.empty()) || !may_ask(question)) continue;
    DrawnQuestion drawn{.text = styled(question.text, random),
                        .answer = std::string(answer),
                        .gold = {},
                        .needs_all_gold = question.needs_all_gold,
                        .place = place,
                        .read_in_vain = {},
                        .name = std::string(question.name)};
    for (const int32_t document : question.documents) {
      const int32_t gold = memory.place_of(document);
      if (gold >= 0 && std::ranges::find(drawn.gold, gold) == drawn.gold.end()) {
        drawn.gold.push_back(gold);
      } else if (gold < 0 && question.needs_all_gold) {
        drawn.gold.clear();
        break;
      }
    }
    if (!drawn.gold.empty()) return drawn;
  }
  return std::nullopt;
}

std::optional<DrawnQuestion> QuestionDrawer::made(const DrawnMemory& memory, int32_t place,
                                                  Wanted wanted, Random& random) const {
  const ShownDocument& shown = memory.documents()[static_cast<size_t>(place)];
  std::array<double, kMadeShares.size()> shares{};
  double left = 0;
  for (size_t i = 0; i < shares.size(); ++i) {
    const bool is_fit = wanted == Wanted::kAny || gives_answer(kMadeShares[i].kind);
    shares[i] = is_fit ? mixture_.questions.*kMadeShares[i].share : 0;
    left += shares[i];
  }
  while (left > 0) {
    double point = random.uniform() * left;
    size_t i = 0;
    while (i + 1 < shares.size() && (shares[i] <= 0 || point >= shares[i])) point -= shares[i++];
    if (shares[i] <= 0) break;  // rounding
    const std::string_view title = corpus_.title(shown.document);
    // Sentences become questions as the corpus has them: an invented one is asked in forms of its
    // own, and tells nothing of the title.
    const MadeKind kind = kMadeShares[i].kind;
    const bool takes_words = kind == MadeKind::kSpan || kind == MadeKind::kWords;
    const std::string_view text =
        takes_words ? passage_of(corpus_, shown) : corpus_.text(shown.document);
    const bool shows_title =
        shown.title == TrainCorpus::Title::kShown || text.find(title) != std::string_view::npos;
    const bool is_fit =
        kind != MadeKind::kTitle || (shows_title && memory.num_of_title(shown.document) == 1);
    auto question = is_fit ? make_question(kind, title, text, random) : std::nullopt;
    if (question) {
      return DrawnQuestion{.text = styled(question->text, random),
                           .answer = std::move(question->answer),
                           .gold = {place},
                           .place = place,
                           .read_in_vain = {},
                           .name = std::string(kMadeShares[i].name) + " of " +
                                   std::string(corpus_.document_name(shown.document))};
    }
    left -= shares[i];
    shares[i] = 0;
  }
  return std::nullopt;
}

std::optional<DrawnQuestion> QuestionDrawer::draw(const DrawnMemory& memory, int32_t place,
                                                  Wanted wanted, Random& random) const {
  const InventedFact* fact = memory.fact_of(place);
  if (fact != nullptr && random.chance(mixture_.invented_question_share)) {
    const int32_t document = memory.documents()[static_cast<size_t>(place)].document;
    return DrawnQuestion{.text = styled(question_about(*fact, random), random),
                         .answer = fact->answer,
                         .gold = {place},
                         .place = place,
                         .read_in_vain = {},
                         .name = "invented for " + std::string(corpus_.document_name(document)),
                         .is_invented = true};
  }
  const QuestionShares& shares = mixture_.questions;
  const double all = shares.span + shares.words + shares.title + shares.cloze + shares.fact;
  const double made_share = wanted == Wanted::kAnswered ? mixture_.made_reading_share
                            : all + shares.written > 0  ? all / (all + shares.written)
                                                        : 0;
  const bool prefers_made = random.chance(made_share);
  auto drawn =
      prefers_made ? made(memory, place, wanted, random) : written(memory, place, wanted, random);
  if (drawn || (wanted == Wanted::kAnswered && !prefers_made)) return drawn;
  return prefers_made ? written(memory, place, wanted, random)
                      : made(memory, place, wanted, random);
}

/// Of a passage beside the one in a place, where no passage of that title in the memory has the
/// answer in it.
std::optional<DrawnQuestion> QuestionDrawer::unanswerable_near(const DrawnMemory& memory,
                                                               int32_t place,
                                                               Random& random) const {
  const int32_t document = memory.documents()[static_cast<size_t>(place)].document;
  const std::string_view title = plain_title(corpus_.title(document));
  const int64_t beside = document + random.between(-kBeside, kBeside);
  if (title.empty() || beside < 0 || beside >= corpus_.num_documents()) return std::nullopt;
  const auto other = static_cast<int32_t>(beside);
  if (memory.place_of(other) >= 0 || plain_title(corpus_.title(other)) != title)
    return std::nullopt;
  const auto questions = corpus_.questions_of(other);
  if (questions.empty()) return std::nullopt;
  const int32_t number = random.pick(questions);
  if (corpus_.is_question_held_back(number)) return std::nullopt;
  const TrainQuestion question = corpus_.question(number);
  const std::string_view answer = shortest_answer(question);
  if (!is_telling(answer) || !may_ask(question)) return std::nullopt;
  for (const int32_t gold : question.documents) {
    if (memory.place_of(gold) >= 0) return std::nullopt;
  }
  const std::string telling = corpus::lower_case(answer);
  for (const ShownDocument& shown : memory.documents()) {
    if (plain_title(corpus_.title(shown.document)) != title) continue;
    const std::string text = corpus::lower_case(passage_of(corpus_, shown));
    if (text.find(telling) != std::string::npos) return std::nullopt;
  }
  return DrawnQuestion{.text = styled(question.text, random),
                       .answer = std::string(text::kUnknownAnswer),
                       .gold = {},
                       .read_in_vain = {place},
                       .name = "without its passage: " + std::string(question.name)};
}

/// Of a document that the memory left out, whose part in it is played by those that are alike.
std::optional<DrawnQuestion> QuestionDrawer::unanswerable_beside_similar(const DrawnMemory& memory,
                                                                         Random& random) const {
  if (memory.left_out.empty()) return std::nullopt;
  const LeftOut& left_out = random.pick(memory.left_out);
  const auto questions = corpus_.questions_of(left_out.document);
  if (questions.empty()) return std::nullopt;
  const int32_t number = random.pick(questions);
  if (corpus_.is_question_held_back(number)) return std::nullopt;
  const TrainQuestion question = corpus_.question(number);
  const WrittenQuestion asked{question, shortest_answer(question)};
  if (asked.answer.empty() || weight_of(question.source) <= 0 || !may_ask(question)) {
    return std::nullopt;
  }
  std::vector<int32_t> vain;
  for (const int32_t document : left_out.similar) {
    if (memory.place_of(document) >= 0) vain.push_back(memory.place_of(document));
  }
  const auto is_alike = [&](int32_t document) {
    return std::ranges::any_of(question.documents, [&](int32_t gold) {
      return gold == document || corpus_.document_name(gold) == corpus_.document_name(document) ||
             plain_title(corpus_.title(gold)) == plain_title(corpus_.title(document));
    });
  };
  for (size_t i = 0; i < memory.documents().size(); ++i) {
    const int32_t document = memory.documents()[i].document;
    const bool may_answer =
        std::ranges::find(vain, static_cast<int32_t>(i)) != vain.end() || is_alike(document);
    if (may_answer && answers_too(corpus_, asked, document)) return std::nullopt;
  }
  if (vain.empty()) return std::nullopt;
  random.shuffle(vain);
  const auto count = static_cast<size_t>(random.between(1, kMaxReadInVain));
  vain.resize(std::min(vain.size(), count));
  return DrawnQuestion{.text = styled(question.text, random),
                       .answer = std::string(text::kUnknownAnswer),
                       .gold = {},
                       .read_in_vain = std::move(vain),
                       .name = "beside similar: " + std::string(question.name)};
}

std::optional<DrawnQuestion> QuestionDrawer::draw_unanswerable(
    const DrawnMemory& memory, const std::vector<double>& place_ends, Random& random) const {
  const bool reads = random.chance(mixture_.no_answer_text_share);
  const bool reads_similar = reads && mixture_.no_answer_similar_share > 0 &&
                             random.chance(mixture_.no_answer_similar_share);
  for (int i = 0; reads_similar && i < kMaxTries; ++i) {
    auto drawn = unanswerable_beside_similar(memory, random);
    if (drawn) return drawn;
  }
  for (int i = 0; reads && !reads_similar && i < kMaxTries; ++i) {
    auto drawn = unanswerable_near(memory, draw_place(place_ends, random), random);
    if (drawn) return drawn;
  }
  for (int i = 0; i < kMaxTries; ++i) {
    const auto written = draw_any(random);
    if (!written) return std::nullopt;
    const TrainQuestion& question = written->question;
    const bool is_answered = std::ranges::any_of(
        question.documents, [&](int32_t gold) { return memory.speaks_of(gold); });
    if (is_answered) continue;
    DrawnQuestion drawn{.text = styled(question.text, random),
                        .answer = std::string(text::kUnknownAnswer),
                        .gold = {},
                        .read_in_vain = {},
                        .name = "without its document: " + std::string(question.name)};
    const int64_t count = reads_similar ? random.between(1, kMaxReadInVain) : reads ? 1 : 0;
    for (int64_t n = 0; n < count; ++n) {
      const int32_t place = draw_place(place_ends, random);
      const bool is_new = std::ranges::find(drawn.read_in_vain, place) == drawn.read_in_vain.end();
      const int32_t document = memory.documents()[static_cast<size_t>(place)].document;
      if (!is_new || (reads_similar && answers_too(corpus_, *written, document))) continue;
      drawn.read_in_vain.push_back(place);
    }
    return drawn;
  }
  return std::nullopt;
}

std::optional<WrittenQuestion> QuestionDrawer::draw_any(Random& random) const {
  if (question_ends_.empty() || question_ends_.back() <= 0) return std::nullopt;
  for (int i = 0; i < kMaxTries; ++i) {
    const auto questions =
        corpus_.questions_of_source(static_cast<int64_t>(place_in(question_ends_, random)));
    if (questions.empty()) continue;
    const int32_t number = random.pick(questions);
    if (corpus_.is_question_held_back(number)) continue;
    const TrainQuestion question = corpus_.question(number);
    if (may_ask(question)) return WrittenQuestion{question, shortest_answer(question)};
  }
  return std::nullopt;
}

std::optional<Renaming> QuestionDrawer::draw_renaming(std::string_view question,
                                                      std::string_view answer,
                                                      std::span<const std::string> texts,
                                                      std::span<const std::string> others,
                                                      Random& random) const {
  if (mixture_.renamed_share <= 0 || !random.chance(mixture_.renamed_share)) return std::nullopt;
  const AnswerKind kind = kind_of(answer);
  const auto has = [](std::string_view words) {
    return [words](std::string_view text) { return has_words(text, words); };
  };
  if (kind == AnswerKind::kOther || std::ranges::none_of(texts, has(answer))) return std::nullopt;
  if (has_words(ascii_lower(question), ascii_lower(answer))) return std::nullopt;  // however typed
  const std::string_view asking = asking_word(question);
  for (int i = 0; i < kMaxRenamingTries; ++i) {
    std::optional<std::string> other = other_number(answer, random);
    if (kind == AnswerKind::kName || kind == AnswerKind::kDate) {
      const auto drawn = draw_any(random);
      if (!drawn || asking_word(drawn->question.text) != asking) continue;
      if (kind_of(drawn->answer) != kind) continue;
      other = std::string(drawn->answer);
    }
    if (!other || *other == answer || has_words(question, *other)) continue;
    if (std::ranges::any_of(texts, has(*other)) || std::ranges::any_of(others, has(*other)))
      continue;
    return Renaming{.from = std::string(answer), .to = std::move(*other)};
  }
  return std::nullopt;
}

std::vector<WrittenQuestion> QuestionDrawer::draw_answered(int32_t document, int64_t count,
                                                           Random& random) const {
  std::vector<WrittenQuestion> left;
  for (const int32_t number : corpus_.questions_of(document)) {
    if (corpus_.is_question_held_back(number)) continue;
    const TrainQuestion question = corpus_.question(number);
    const bool needs_others = question.needs_all_gold && question.documents.size() > 1;
    const std::string_view answer = shortest_answer(question);
    if (!needs_others && !answer.empty() && weight_of(question.source) > 0) {
      left.push_back({question, answer});
    }
  }
  std::vector<WrittenQuestion> answered;
  while (!left.empty() && static_cast<int64_t>(answered.size()) < count) {
    std::vector<double> ends;
    double end = 0;
    for (const WrittenQuestion& one : left) ends.push_back(end += weight_of(one.question.source));
    const size_t place = place_in(ends, random);
    answered.push_back(left[place]);
    left.erase(left.begin() + static_cast<ptrdiff_t>(place));
  }
  return answered;
}

}  // namespace msa::samples
