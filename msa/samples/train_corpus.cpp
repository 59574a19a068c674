#include "msa/samples/train_corpus.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <unordered_map>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/corpus/evidence_span.h"
#include "msa/samples/question_table.h"
#include "msa/samples/token_cache.h"

namespace msa::samples {
namespace {

constexpr int64_t kUsualIdDigits = 7;

void check_options(const TrainCorpusOptions& options) {
  MSA_CHECK(!options.sources.empty(), "a corpus needs a source");
  std::set<std::string_view> names;
  for (const SourceFiles& source : options.sources) {
    MSA_CHECK(!source.name.empty() && names.insert(source.name).second,
              "every source needs a name of its own, got \"", source.name, "\"");
    MSA_CHECK(!source.documents.empty(), "source ", source.name, ": no file of documents");
  }
  MSA_CHECK(!options.cache.empty(), "no folder for token files");
  MSA_CHECK(options.max_document_tokens >= 8, "max_document_tokens must be at least 8, got ",
            options.max_document_tokens);
  MSA_CHECK(options.num_threads >= 0 && options.num_threads <= 4096,
            "num_threads must be in [0, 4096], got ", options.num_threads);
}

/// Threads of parallel_for for as long as it lives; 0 leaves them as they are.
class ThreadCount {
 public:
  explicit ThreadCount(int64_t count) : before_(num_threads()) {
    if (count > 0) set_num_threads(static_cast<int>(count));
  }
  ~ThreadCount() { set_num_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

/// Numbers 0 .. count - 1, of which spans are handed out.
std::vector<int32_t> numbers(int64_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

struct TrainCorpus::State {
  explicit State(const text::PromptLayout& layout) : encoder(layout) {}

  struct Source {
    std::unique_ptr<TokenStore> store;
    int64_t first_document = 0;
    int64_t first_question = 0;
    bool needs_all_gold = true;
  };

  void open_documents(FileSystem& files, const TrainCorpusOptions& options,
                      const OnProgress& on_progress);
  void find_repeated();
  void read_questions(FileSystem& files, const TrainCorpusOptions& options,
                      const OnProgress& on_progress);
  int32_t gold_passage(const corpus::Question& question, const std::string& id,
                       int32_t source) const;
  int32_t first_passage(const std::string& id, int32_t source) const;
  void list_questions_of_documents();
  void hold_back(FileSystem& files, const TrainCorpusOptions& options);

  /// A document's store and its place there.
  std::pair<const TokenStore&, int64_t> place(int64_t document) const {
    const Source& source = sources[static_cast<size_t>(source_of[static_cast<size_t>(document)])];
    return {*source.store, document - source.first_document};
  }
  std::string_view name(int64_t document) const {
    const auto [store, n] = place(document);
    return store.name(n);
  }
  std::string_view text(int64_t document) const {
    const auto [store, n] = place(document);
    return store.text(n);
  }
  int64_t num_documents() const { return static_cast<int64_t>(source_of.size()); }
  int64_t end_of_passages(int64_t first) const {
    int64_t end = first + 1;
    while (end < num_documents() && first_of[static_cast<size_t>(end)] == first) ++end;
    return end;
  }

  FrameEncoder encoder;
  std::vector<Source> sources;
  std::vector<int32_t> source_of;  // of each document
  std::vector<int32_t> first_of;   // the first passage of its document
  std::vector<int32_t> same_as;    // the first document with the same text
  std::vector<uint8_t> is_document_held_back;
  std::vector<int32_t> document_numbers;
  std::unordered_multimap<std::string_view, int32_t> first_by_name;  // of each source
  int64_t num_tokens = 0;
  int64_t max_document_tokens = 0;

  QuestionTable questions;
  std::vector<uint8_t> is_question_held_back;
  std::vector<int32_t> question_numbers;
  std::vector<int64_t> questions_of_offsets;  // [documents + 1], into questions_of
  std::vector<int32_t> questions_of;
};

void TrainCorpus::State::open_documents(FileSystem& files, const TrainCorpusOptions& options,
                                        const OnProgress& on_progress) {
  for (const SourceFiles& files_of_source : options.sources) {
    Source source;
    source.store = open_token_cache(
        files, encoder, files_of_source.documents,
        {.folder = options.cache, .max_document_tokens = options.max_document_tokens}, on_progress);
    source.first_document = num_documents();
    source.needs_all_gold = files_of_source.needs_all_gold;
    const auto number = static_cast<int32_t>(sources.size());
    if (num_documents() + source.store->size() > std::numeric_limits<int32_t>::max()) {
      throw Error(ErrorCode::kLimit, files_of_source.documents.string(),
                  ": a corpus holds at most 2^31 - 1 passages");
    }
    for (int64_t n = 0; n < source.store->size(); ++n) {
      const auto document = static_cast<int32_t>(source.first_document + n);
      const bool goes_on = n > 0 && source.store->name(n) == source.store->name(n - 1);
      first_of.push_back(goes_on ? first_of.back() : document);
      if (!goes_on) first_by_name.emplace(source.store->name(n), document);
      num_tokens += source.store->num_tokens(n, Title::kShown, Frame::kDocument) +
                    FrameEncoder::num_added(Frame::kDocument, kUsualIdDigits);
    }
    source_of.resize(static_cast<size_t>(source.first_document + source.store->size()), number);
    sources.push_back(std::move(source));
  }
  document_numbers = numbers(num_documents());
}

void TrainCorpus::State::find_repeated() {
  std::unordered_multimap<uint64_t, int32_t> seen;
  seen.reserve(source_of.size());
  same_as.reserve(source_of.size());
  for (int32_t document = 0; document < num_documents(); ++document) {
    const auto [store, n] = place(document);
    const uint64_t digest = store.text_digest(n);
    const auto [begin, end] = seen.equal_range(digest);
    const auto found = std::find_if(
        begin, end, [&](const auto& entry) { return text(entry.second) == text(document); });
    same_as.push_back(found == end ? document : found->second);
    if (found == end) seen.emplace(digest, document);
  }
}

/// Of the question's own source, else of the only other one that has the id.
int32_t TrainCorpus::State::first_passage(const std::string& id, int32_t source) const {
  const auto [begin, end] = first_by_name.equal_range(std::string_view(id));
  if (begin == end) {
    throw Error(ErrorCode::kInvalidFormat, "no source has the gold document \"", id, "\"");
  }
  for (auto entry = begin; entry != end; ++entry) {
    if (source_of[static_cast<size_t>(entry->second)] == source) return entry->second;
  }
  if (std::next(begin) != end) {
    throw Error(ErrorCode::kInvalidFormat, "several sources have the gold document \"", id, "\"");
  }
  return begin->second;
}

/// The first passage that has an answer letter by letter, else one that has its words, else the
/// first of the document. A yes or no stands nowhere.
int32_t TrainCorpus::State::gold_passage(const corpus::Question& question, const std::string& id,
                                         int32_t source) const {
  const int32_t first = first_passage(id, source);
  const auto end = static_cast<int32_t>(end_of_passages(first));
  if (end == first + 1) return first;
  std::vector<std::string_view> answers;
  for (const std::string& answer : question.answers) {
    if (answer != "yes" && answer != "no" && answer != "maybe") answers.emplace_back(answer);
  }
  for (int32_t passage = first; passage < end; ++passage) {
    for (const std::string_view answer : answers) {
      if (text(passage).find(answer) != std::string_view::npos) return passage;
    }
  }
  for (int32_t passage = first; passage < end; ++passage) {
    for (const std::string_view answer : answers) {
      if (corpus::find_evidence(text(passage), question.text, answer).holds_answer) return passage;
    }
  }
  return first;
}

void TrainCorpus::State::read_questions(FileSystem& files, const TrainCorpusOptions& options,
                                        const OnProgress& on_progress) {
  for (size_t s = 0; s < sources.size(); ++s) {
    const auto source = static_cast<int32_t>(s);
    sources[s].first_question = questions.size();
    for (const auto& path : options.sources[s].questions) {
      if (on_progress) on_progress("reading " + path.string(), 0);
      questions.add_file(files, path, source,
                         [&](const corpus::Question& question, const std::string& id) {
                           return gold_passage(question, id, source);
                         });
    }
  }
  question_numbers = numbers(questions.size());
}

void TrainCorpus::State::list_questions_of_documents() {
  questions_of_offsets.assign(source_of.size() + 1, 0);
  for (int64_t q = 0; q < questions.size(); ++q) {
    for (const int32_t gold : questions.gold(q)) {
      ++questions_of_offsets[static_cast<size_t>(gold) + 1];
    }
  }
  std::partial_sum(questions_of_offsets.begin(), questions_of_offsets.end(),
                   questions_of_offsets.begin());
  questions_of.resize(static_cast<size_t>(questions_of_offsets.back()));
  std::vector<int64_t> next(questions_of_offsets.begin(), questions_of_offsets.end() - 1);
  for (int64_t q = 0; q < questions.size(); ++q) {
    for (const int32_t gold : questions.gold(q)) {
      questions_of[static_cast<size_t>(next[static_cast<size_t>(gold)]++)] =
          static_cast<int32_t>(q);
    }
  }
}

void TrainCorpus::State::hold_back(FileSystem& files, const TrainCorpusOptions& options) {
  is_document_held_back.assign(source_of.size(), 0);
  is_question_held_back.assign(static_cast<size_t>(questions.size()), 0);
  std::vector<HeldBackId> ids;
  for (const auto& path : options.held_back) {
    for (HeldBackId& id : read_held_back(files, path)) ids.push_back(std::move(id));
  }
  if (ids.empty()) return;
  std::unordered_map<std::string_view, bool> is_found;
  for (const HeldBackId& id : ids) is_found.emplace(id.id, false);
  for (int64_t q = 0; q < questions.size(); ++q) {
    const auto found = is_found.find(questions.name(q));
    if (found == is_found.end()) continue;
    found->second = true;
    is_question_held_back[static_cast<size_t>(q)] = 1;
    for (const int32_t gold : questions.gold(q)) {
      const int32_t first = first_of[static_cast<size_t>(gold)];
      for (int64_t passage = first; passage < end_of_passages(first); ++passage) {
        is_document_held_back[static_cast<size_t>(passage)] = 1;
      }
    }
  }
  for (const HeldBackId& id : ids) {
    if (is_found.at(id.id)) continue;
    throw Error(ErrorCode::kInvalidFormat, id.file, " line ", id.line,
                ": no source has the question \"", id.id, "\"");
  }
  // Equal texts go together: first to the one that stands for them, then to all.
  for (size_t d = 0; d < source_of.size(); ++d) {
    if (is_document_held_back[d] != 0) is_document_held_back[static_cast<size_t>(same_as[d])] = 1;
  }
  for (size_t d = 0; d < source_of.size(); ++d) {
    if (is_document_held_back[static_cast<size_t>(same_as[d])] != 0) is_document_held_back[d] = 1;
  }
  for (int64_t q = 0; q < questions.size(); ++q) {
    for (const int32_t gold : questions.gold(q)) {
      if (is_document_held_back[static_cast<size_t>(gold)] != 0) {
        is_question_held_back[static_cast<size_t>(q)] = 1;
      }
    }
  }
}

std::unique_ptr<TrainCorpus> TrainCorpus::open(FileSystem& files, const text::PromptLayout& layout,
                                               const TrainCorpusOptions& options,
                                               const OnProgress& on_progress) {
  check_options(options);
  const ThreadCount threads(options.num_threads);
  std::unique_ptr<TrainCorpus> corpus(new TrainCorpus);
  corpus->state_ = std::make_unique<State>(layout);
  State& state = *corpus->state_;
  state.max_document_tokens = options.max_document_tokens;
  state.open_documents(files, options, on_progress);
  state.find_repeated();
  state.read_questions(files, options, on_progress);
  state.list_questions_of_documents();
  state.hold_back(files, options);
  return corpus;
}

TrainCorpus::~TrainCorpus() = default;

int64_t TrainCorpus::num_sources() const { return static_cast<int64_t>(state_->sources.size()); }
int64_t TrainCorpus::num_documents() const { return state_->num_documents(); }
int64_t TrainCorpus::num_questions() const { return state_->questions.size(); }
int64_t TrainCorpus::num_tokens() const { return state_->num_tokens; }
int64_t TrainCorpus::max_document_tokens() const { return state_->max_document_tokens; }
const text::PromptLayout& TrainCorpus::layout() const { return state_->encoder.layout(); }

std::string_view TrainCorpus::document_name(int64_t document) const {
  return state_->name(document);
}

std::string_view TrainCorpus::title(int64_t document) const {
  const auto [store, n] = state_->place(document);
  return store.title(n);
}

std::string_view TrainCorpus::text(int64_t document) const { return state_->text(document); }

int32_t TrainCorpus::source_of(int64_t document) const {
  return state_->source_of[static_cast<size_t>(document)];
}

bool TrainCorpus::is_held_back(int64_t document) const {
  return state_->is_document_held_back[static_cast<size_t>(document)] != 0;
}

bool TrainCorpus::is_repeated(int64_t document) const {
  return state_->same_as[static_cast<size_t>(document)] != document;
}

TrainQuestion TrainCorpus::question(int64_t question) const {
  const QuestionTable& table = state_->questions;
  const int32_t source = table.source(question);
  return {.name = table.name(question),
          .text = table.text(question),
          .answers = table.answers(question),
          .documents = table.gold(question),
          .needs_all_gold = state_->sources[static_cast<size_t>(source)].needs_all_gold,
          .source = source};
}

bool TrainCorpus::is_question_held_back(int64_t question) const {
  return state_->is_question_held_back[static_cast<size_t>(question)] != 0;
}

std::span<const int32_t> TrainCorpus::documents_of_source(int64_t source) const {
  const State::Source& s = state_->sources[static_cast<size_t>(source)];
  return std::span(state_->document_numbers)
      .subspan(static_cast<size_t>(s.first_document), static_cast<size_t>(s.store->size()));
}

std::span<const int32_t> TrainCorpus::questions_of_source(int64_t source) const {
  const auto s = static_cast<size_t>(source);
  const int64_t first = state_->sources[s].first_question;
  const int64_t end = s + 1 < state_->sources.size() ? state_->sources[s + 1].first_question
                                                     : state_->questions.size();
  return std::span(state_->question_numbers)
      .subspan(static_cast<size_t>(first), static_cast<size_t>(end - first));
}

std::span<const int32_t> TrainCorpus::questions_of(int64_t document) const {
  const auto d = static_cast<size_t>(document);
  const auto first = static_cast<size_t>(state_->questions_of_offsets[d]);
  return std::span(state_->questions_of)
      .subspan(first, static_cast<size_t>(state_->questions_of_offsets[d + 1]) - first);
}

void TrainCorpus::append_document(int64_t document, int64_t id, Title title,
                                  std::vector<int32_t>& tokens) const {
  const auto [store, n] = state_->place(document);
  state_->encoder.open(Frame::kDocument, id, tokens);
  store.append(n, title, Frame::kDocument, tokens);
  state_->encoder.close(Frame::kDocument, id, tokens);
}

void TrainCorpus::append_text(int64_t document, int64_t id, Title title,
                              std::vector<int32_t>& tokens) const {
  const auto [store, n] = state_->place(document);
  state_->encoder.open(Frame::kAppended, id, tokens);
  store.append(n, title, Frame::kAppended, tokens);
  state_->encoder.close(Frame::kAppended, id, tokens);
}

int64_t TrainCorpus::document_tokens(int64_t document, Title title, int64_t id_digits) const {
  const auto [store, n] = state_->place(document);
  return store.num_tokens(n, title, Frame::kDocument) +
         FrameEncoder::num_added(Frame::kDocument, id_digits);
}

}  // namespace msa::samples
