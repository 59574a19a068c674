#include "msa/engine/conversation.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <span>

#include "msa/base/error.h"
#include "msa/corpus/evidence_span.h"
#include "msa/corpus/passage_text.h"
#include "msa/engine/answer_writer.h"
#include "msa/kernels/top_documents.h"
#include "msa/text/answer_protocol.h"

namespace msa::engine {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

Conversation::Conversation(const LoadedModel& model, const memory::Bank& bank,
                           const memory::ChunkSource& memory, std::string_view question,
                           const AskOptions& options)
    : model_(model),
      bank_(bank),
      memory_(memory),
      options_(options),
      question_(question),
      session_(model.new_session(&memory)) {
  answer_.question = question_;
}

/// Nothing if its document has been deleted or replaced since the bank was opened.
std::optional<PassageView> Conversation::view(int64_t passage_id) const {
  const auto place = bank_.place_of(passage_id);
  MSA_CHECK(place, "the bank has no passage ", passage_id);
  PassageView view;
  view.passage = bank_.passages()[*place];
  const auto document = bank_.document_of(view.passage);
  if (!document) return std::nullopt;
  view.name = document->name;
  view.text = document->text.substr(static_cast<size_t>(view.passage.start),
                                    static_cast<size_t>(view.passage.end - view.passage.start));
  view.for_model = corpus::passage_text(document->title, view.text);
  return view;
}

/// Reads new tokens with routing; prompt_ holds them with their roles already.
std::span<const float> Conversation::read(std::span<const int32_t> new_tokens, Round& round) {
  const auto start = Clock::now();
  round.prompt_tokens = static_cast<int64_t>(prompt_.tokens.size());
  round.reused_tokens = session_->num_tokens();
  std::vector<bool> routes;
  for (const int32_t role : prompt_.roles) routes.push_back(role == text::kQuestionRole);
  const auto logits = session_->prefill(new_tokens, routes);
  logits_.assign(logits.begin(), logits.end());
  round.routed = routed_layers();
  round.route_ms = session_->routing().milliseconds;
  answer_.timing.route_ms += round.route_ms;
  answer_.timing.prefill_ms += milliseconds_since(start);
  answer_.usage.prompt_tokens += static_cast<int64_t>(new_tokens.size());
  return logits_;
}

std::vector<Round::Layer> Conversation::routed_layers() const {
  std::vector<Round::Layer> layers;
  const auto& selected = session_->routing().selected;
  for (size_t slot = 0; slot < selected.size(); ++slot) {
    Round::Layer layer{.layer = model_.config().msa.router_layers[slot], .passages = {}};
    for (const auto& choice : selected[slot]) {
      layer.passages.emplace_back(bank_.passages()[choice.document].id, choice.score);
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

/// Passages that any layer chose in this round and that have not been read yet.
std::vector<IdCandidate> Conversation::candidates() const {
  std::set<int64_t> places;
  for (const auto& layer : session_->routing().selected) {
    for (const auto& choice : layer) places.insert(choice.document);
  }
  std::vector<IdCandidate> candidates;
  for (const int64_t place : places) {
    const int64_t id = bank_.passages()[place].id;
    if (std::find(read_ids_.begin(), read_ids_.end(), id) != read_ids_.end()) continue;
    candidates.push_back({id, session_->routing().mean_scores[place]});
  }
  return candidates;
}

/// Whatever the model writes, greedily, until the round is over. Ids that exist stand, also before
/// what follows no rule.
WrittenIds Conversation::write_ids_freely(std::span<const float> logits) {
  WrittenIds written;
  text::RetrievalRound written_round(model_.layout(), model_.config().end_tokens);
  session_->write(logits, [&](int32_t token) {
    written.tokens.push_back(token);
    return written_round.add(token) == text::RoundState::kGoesOn;
  });
  written.ends_retrieval = written_round.state() == text::RoundState::kRetrievalEnded;
  for (const int64_t id : written_round.ids()) {
    if (bank_.place_of(id)) written.ids.push_back(id);
  }
  return written;
}

/// Of the ids named in a round those whose texts come next: not read yet, each once, no more than
/// `count`.
std::vector<int64_t> Conversation::unread(const std::vector<int64_t>& ids, int64_t count) const {
  std::vector<int64_t> result;
  for (const int64_t id : ids) {
    const auto holds = [id](const std::vector<int64_t>& all) {
      return std::find(all.begin(), all.end(), id) != all.end();
    };
    if (static_cast<int64_t>(result.size()) == count) break;
    if (!holds(read_ids_) && !holds(result)) result.push_back(id);
  }
  return result;
}

/// False if there is nothing to append.
bool Conversation::append_texts(Round& round, std::vector<int64_t> unread) {
  std::sort(unread.begin(), unread.end());
  std::vector<PassageView> views;
  for (const int64_t id : unread) {
    if (auto passage = view(id)) views.push_back(*std::move(passage));
  }
  if (views.empty()) return false;
  std::vector<text::AppendedText> texts;
  for (const PassageView& passage : views) {
    texts.push_back({passage.passage.id, passage.for_model});
    round.appended.push_back(passage.passage.id);
  }
  text::PromptLayout::settle(prompt_.roles);
  prompt_.append(model_.layout().appended_texts(texts));
  read_ids_.insert(read_ids_.end(), round.appended.begin(), round.appended.end());
  return true;
}

/// Reads what is new, names documents and appends their texts. False when the model has read
/// enough.
bool Conversation::run_round(Round& round) {
  const auto start = Clock::now();
  const auto held = static_cast<size_t>(session_->num_tokens());
  read(std::span(prompt_.tokens).subspan(held), round);
  const bool is_first = answer_.rounds.empty();
  const bool is_given = is_first && !options_.given_passages.empty();
  if (is_first) first_scores_ = session_->routing().mean_scores;
  const bool may_read_more = static_cast<int64_t>(answer_.rounds.size()) < options_.max_rounds &&
                             memory_.num_documents() > 0;

  const auto write_start = Clock::now();
  WrittenIds written;
  if (is_given) {
    written.ids = options_.given_passages;
    written.tokens = model_.layout().named_documents(written.ids).tokens;
  } else if (!may_read_more || !options_.given_passages.empty()) {
    written.ends_retrieval = true;
    written.tokens = model_.layout().end_of_retrieve();
  } else if (options_.ids == IdDecoding::kFree) {
    written = write_ids_freely(logits_);
  } else {
    const bool is_fused = options_.ids == IdDecoding::kFused;
    written = write_ids(*session_, model_.layout(), logits_, candidates(),
                        {.routing_weight = is_fused ? options_.routing_weight : 0,
                         .max_ids = options_.max_documents_per_round,
                         .may_end_retrieval = !is_first});
  }
  answer_.timing.write_ms += milliseconds_since(write_start);
  round.written = model_.tokenizer().decode(written.tokens);
  round.ids = written.ids;
  round.written_tokens = static_cast<int64_t>(written.tokens.size());
  answer_.usage.completion_tokens += round.written_tokens;
  for (const int32_t token : written.tokens) {
    prompt_.tokens.push_back(token);
    prompt_.roles.push_back(text::kResponseRole);
  }
  const bool goes_on =
      !written.ends_retrieval &&
      append_texts(round, unread(written.ids, is_given ? static_cast<int64_t>(written.ids.size())
                                                       : options_.max_documents_per_round));
  round.total_ms = milliseconds_since(start);
  return goes_on;
}

void Conversation::write_answer(const Engine::OnText& on_text) {
  const auto start = Clock::now();
  const text::Prompt prompt = model_.layout().answer_prompt(question_);
  // What was written last may not have been fed yet.
  const auto pending =
      std::span(prompt_.tokens).subspan(static_cast<size_t>(session_->num_tokens()));
  if (!pending.empty()) session_->extend(pending);
  const auto logits = session_->extend(prompt.tokens, model_.config().msa.answer_prompt_attention);
  answer_.usage.prompt_tokens += static_cast<int64_t>(prompt.tokens.size());
  answer_.timing.prefill_ms += milliseconds_since(start);

  const auto write_start = Clock::now();
  WrittenAnswer written = engine::write_answer(model_, *session_, logits, options_, on_text);
  answer_.answer = std::move(written.text);
  answer_.is_declined = answer_.answer == text::kUnknownAnswer;
  answer_.decline_probability = written.decline_probability;
  answer_.is_truncated = written.is_truncated;
  answer_.usage.completion_tokens += written.num_tokens;
  answer_.timing.write_ms += milliseconds_since(write_start);
}

void Conversation::add_evidence() {
  if (answer_.is_declined) return;
  size_t num_holding = 0;
  for (const int64_t id : read_ids_) {
    const auto passage = view(id);
    if (!passage) continue;
    const auto found = corpus::find_evidence(passage->text, question_, answer_.answer);
    Evidence evidence{
        .id = id,
        .name = passage->name,
        .start = passage->passage.start + found.span.start,
        .end = passage->passage.start + found.span.end,
        .quote = passage->text.substr(static_cast<size_t>(found.span.start),
                                      static_cast<size_t>(found.span.end - found.span.start))};
    if (found.holds_answer) {
      answer_.evidence.insert(answer_.evidence.begin() + static_cast<ptrdiff_t>(num_holding++),
                              std::move(evidence));
    } else {
      answer_.evidence.push_back(std::move(evidence));
    }
  }
}

std::vector<ScoredPassage> Conversation::best_documents(const std::vector<float>& scores,
                                                        int64_t count) const {
  std::vector<kernels::ScoredDocument> best(
      static_cast<size_t>(std::min<int64_t>(count, static_cast<int64_t>(scores.size()))));
  kernels::select_top_documents(scores, best);
  std::vector<ScoredPassage> result;
  for (const auto& choice : best) {
    const memory::Passage& passage = bank_.passages()[choice.document];
    if (const auto document = bank_.document_of(passage)) {
      result.push_back({passage.id, document->name, choice.score});
    }
  }
  return result;
}

void Conversation::list_documents() {
  answer_.routed = best_documents(first_scores_, options_.num_documents);
  std::vector<ScoredPassage> all;
  const auto is_listed = [&](int64_t id) {
    return std::any_of(all.begin(), all.end(), [&](const auto& p) { return p.id == id; });
  };
  for (const Round& round : answer_.rounds) {
    for (const int64_t id : round.ids) {
      if (is_listed(id)) continue;
      const int64_t place = bank_.place_of(id).value();  // ids are those of the bank alone
      const auto document = bank_.document_of(bank_.passages()[place]);
      if (!document) continue;
      all.push_back({id, document->name, first_scores_.empty() ? 0.0F : first_scores_[place]});
    }
  }
  for (const ScoredPassage& passage : answer_.routed) {
    if (!is_listed(passage.id)) all.push_back(passage);
  }
  if (static_cast<int64_t>(all.size()) > options_.num_documents) all.resize(options_.num_documents);
  answer_.documents = std::move(all);
}

RouteResult Conversation::route(int64_t num_documents) {
  const auto start = Clock::now();
  prompt_ = model_.layout().question(question_);
  Round round;
  read(prompt_.tokens, round);
  RouteResult result;
  result.question = question_;
  result.documents = best_documents(session_->routing().mean_scores, num_documents);
  result.layers = std::move(round.routed);
  result.timing = answer_.timing;
  result.timing.total_ms = milliseconds_since(start);
  return result;
}

Answer Conversation::ask(const Engine::OnText& on_text) {
  const auto start = Clock::now();
  prompt_ = model_.layout().question(question_);
  for (bool goes_on = true; goes_on;) {
    Round round;
    goes_on = run_round(round);
    answer_.rounds.push_back(std::move(round));
  }
  answer_.usage.rounds = static_cast<int64_t>(answer_.rounds.size());
  write_answer(on_text);
  add_evidence();
  answer_.timing.total_ms = milliseconds_since(start);
  list_documents();  // as long as the caller wants its list
  return std::move(answer_);
}

}  // namespace msa::engine
