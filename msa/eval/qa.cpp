#include "msa/eval/qa.h"

#include <algorithm>
#include <functional>
#include <set>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/corpus/answer_metrics.h"
#include "msa/corpus/bm25.h"
#include "msa/engine/engine.h"
#include "msa/engine/ingest.h"
#include "msa/eval/qa_set.h"

namespace msa::eval {
namespace {

constexpr int64_t kDepth = 16;
constexpr int64_t kMostDocuments = 10'000;  // that AskOptions takes

/// Whether a ranking's first and first sixteen names hold a gold one.
struct Hit {
  bool at_1 = false;
  bool at_16 = false;

  void add_to(Recall& recall) const {
    recall.at_1 += at_1;
    recall.at_16 += at_16;
  }
};

/// `names` as ranking() leaves them.
Hit hit_of(const QaSet& set, const corpus::Question& question,
           const std::vector<std::string>& names) {
  Hit hit;
  for (const std::string& name : names) {
    const bool is_gold = set.is_gold(question, name);
    hit.at_1 |= is_gold && name == names.front();
    hit.at_16 |= is_gold;
  }
  return hit;
}

/// Entries of a ranking that surely hold kDepth distinct texts (or all there are), where `counts`
/// has for every text how many entries may be its.
int64_t sure_depth(const std::map<int64_t, int64_t>& counts) {
  std::vector<int64_t> sizes;
  for (const auto& [text, count] : counts) sizes.push_back(count);
  std::sort(sizes.begin(), sizes.end(), std::greater<>());
  int64_t depth = 1;
  for (size_t i = 0; i < sizes.size() && i + 1 < kDepth; ++i) depth += sizes[i];
  return depth;
}

void add_reading(const corpus::Question& question, const std::string& answer, Reading& reading) {
  if (question.answers.empty()) return;
  reading.exact += corpus::exact_match(answer, question.answers);
  reading.f1 += corpus::f1(answer, question.answers);
}

class Evaluation {
 public:
  Evaluation(FileSystem& files, const engine::LoadedModel& model, const QaOptions& options)
      : files_(files), model_(model), options_(options), set_(load_qa_set(files, options)) {}

  QaReport run() {
    build_bank();
    for (const auto& document : set_.documents) bm25_.add(document.title + " " + document.text);
    bm25_.finish();
    for (const int64_t layer : model_.config().msa.router_layers) {
      report_.layers.push_back({layer, {}});
    }
    const auto total = static_cast<int64_t>(set_.questions.size());
    for (const corpus::Question& question : set_.questions) {
      expect_no_stop();
      evaluate(question);
      if (options_.on_progress) options_.on_progress(++report_.questions, total);
    }
    report_.questions = total;
    average();
    return report_;
  }

 private:
  bool is_stopped() const { return options_.stop && options_.stop(); }

  void expect_no_stop() const {
    if (!is_stopped()) return;
    throw Error(ErrorCode::kInterrupted, "stopped after ", report_.questions, " of ",
                set_.questions.size(), " questions");
  }

  engine::IngestProgress ingest_documents(const std::filesystem::path& bank,
                                          const std::filesystem::path& documents) const {
    engine::IngestOptions options;
    options.bank = bank;
    options.inputs = {documents};
    options.overlaps = model_.gpu() != nullptr;
    options.key_type = options_.key_type;
    options.content_type = options_.content_type;
    options.stop = options_.stop;
    options.on_progress = options_.on_ingest;
    options.on_problem = [&](const engine::IngestProblem& problem) {
      throw Error(ErrorCode::kInvalidArgument, bank.string(), ": ", problem.what, " (",
                  problem.file, " line ", problem.line, "): it belongs to another evaluation");
    };
    try {
      return engine::ingest(files_, model_, options);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kInterrupted) throw;
      throw Error(ErrorCode::kInterrupted, "stopped while documents were encoded");
    }
  }

  void build_bank() {
    files_.create_directory(options_.work);
    const auto documents = options_.work / "documents.jsonl";
    write_documents(files_, documents, set_.documents);
    const auto bank = options_.work / "bank";
    const auto done = ingest_documents(bank, documents);
    if (done.seconds > 0) {
      report_.ingest_tokens_per_second = static_cast<double>(done.tokens) / done.seconds;
    }
    engine_ = engine::Engine::open(files_, model_, bank);
    const memory::BankFacts& facts = engine_->bank().facts();
    if (facts.key_type != options_.key_type || facts.content_type != options_.content_type) {
      throw Error(
          ErrorCode::kMismatch, bank.string(), " keeps keys as ", kernels::name_of(facts.key_type),
          " and content as ", kernels::name_of(facts.content_type), ", wanted are ",
          kernels::name_of(options_.key_type), " and ", kernels::name_of(options_.content_type));
    }
    const auto stats = engine_->bank().stats();
    MSA_CHECK(stats.documents == static_cast<int64_t>(set_.documents.size()), bank.string(),
              " holds ", stats.documents, " documents, the set has ", set_.documents.size(),
              ": it belongs to another evaluation");
    report_.documents = stats.documents;
    report_.tokens = stats.tokens;
    for (const memory::Passage& passage : engine_->bank().passages()) {
      passages_of_[passage.document].push_back(passage.id);
      document_of_[passage.id] = passage.document;
    }
    for (const auto& document : engine_->bank().list(0, stats.documents)) {
      name_of_[document.row] = document.name;
      row_of_[document.name] = document.row;
    }
    std::map<int64_t, int64_t> documents_of;
    std::map<int64_t, int64_t> passages_of;
    for (const auto& [name, row] : row_of_) {
      const int64_t text = set_.text_of.at(name);
      ++documents_of[text];
      passages_of[text] += static_cast<int64_t>(passages_of_.at(row).size());
    }
    document_depth_ = sure_depth(documents_of);
    passage_depth_ = sure_depth(passages_of);
  }

  const std::string& name_of(int64_t passage) const {
    return name_of_.at(document_of_.at(passage));
  }

  /// The first kDepth names of different texts.
  std::vector<std::string> ranking(const std::vector<std::string>& names) const {
    std::vector<std::string> distinct;
    std::set<int64_t> seen;
    for (const std::string& name : names) {
      if (static_cast<int64_t>(distinct.size()) == kDepth) break;
      if (seen.insert(set_.text_of.at(name)).second) distinct.push_back(name);
    }
    return distinct;
  }

  void evaluate(const corpus::Question& question) {
    OrderedJson line{{"id", question.id}, {"question", question.text}};
    if (options_.reads) {
      engine::AskOptions options = options_.ask;
      options.num_documents = std::min(passage_depth_, kMostDocuments);
      const auto answer = engine_->ask(question.text, options);
      line["routed"] = add_routing(question, answer.routed, answer.rounds.front().routed);
      read(question, answer, line);
    } else {
      const auto routed = engine_->route(question.text, passage_depth_);
      line["routed"] = add_routing(question, routed.documents, routed.layers);
    }
    hit_of(set_, question, ranking(search(question.text))).add_to(report_.bm25);
    if (options_.on_question) options_.on_question(to_line(line));
  }

  /// The ranking by mean scores.
  std::vector<std::string> add_routing(const corpus::Question& question,
                                       const std::vector<engine::ScoredPassage>& routed,
                                       const std::vector<engine::Round::Layer>& layers) {
    std::vector<std::string> names;
    for (const auto& document : routed) names.push_back(document.name);
    names = ranking(names);
    hit_of(set_, question, names).add_to(report_.fused);
    bool is_in_union = false;
    for (size_t slot = 0; slot < layers.size(); ++slot) {
      std::vector<std::string> own;
      for (const auto& [id, score] : layers[slot].passages) own.push_back(name_of(id));
      const Hit hit = hit_of(set_, question, ranking(own));
      hit.add_to(report_.layers[slot].recall);
      is_in_union |= hit.at_16;
    }
    report_.union_at_16 += is_in_union;
    return names;
  }

  /// Names by BM25, best first.
  std::vector<std::string> search(const std::string& query) const {
    std::vector<std::string> names;
    for (const auto& found : bm25_.search(query, document_depth_)) {
      names.push_back(set_.documents[static_cast<size_t>(found.document)].name);
    }
    return names;
  }

  void read(const corpus::Question& question, const engine::Answer& answer, OrderedJson& line) {
    times_.push_back(answer.timing.total_ms);
    report_.declined += answer.is_declined;
    line["answer"] = answer.answer;
    line["declined"] = answer.is_declined;
    if (answer.decline_probability) line["decline_probability"] = *answer.decline_probability;
    if (options_.leaves_gold_out) return;
    add_reading(question, answer.answer, report_.end_to_end);
    const auto& named = answer.rounds.front().ids;
    const bool is_named = !named.empty() && set_.is_gold(question, name_of(named.front()));
    report_.named += is_named;
    expect_no_stop();
    engine::AskOptions given = options_.ask;
    for (const std::string& gold : question.documents) {
      const auto row = row_of_.find(gold);
      if (row == row_of_.end()) continue;
      const auto& ids = passages_of_.at(row->second);
      given.given_passages.insert(given.given_passages.end(), ids.begin(), ids.end());
    }
    const auto with_gold = engine_->ask(question.text, given);
    add_reading(question, with_gold.answer, report_.gold_text);
    line["answers"] = question.answers;
    line["named_gold"] = is_named;
    line["answer_with_gold_text"] = with_gold.answer;
    if (with_gold.decline_probability) {
      line["decline_probability_with_gold_text"] = *with_gold.decline_probability;
    }
  }

  void average() {
    const double count = std::max<double>(1, static_cast<double>(report_.questions));
    for (Recall* recall : {&report_.fused, &report_.bm25}) {
      recall->at_1 /= count;
      recall->at_16 /= count;
    }
    for (LayerRecall& layer : report_.layers) {
      layer.recall.at_1 /= count;
      layer.recall.at_16 /= count;
    }
    report_.union_at_16 /= count;
    report_.named /= count;
    report_.declined /= count;
    for (Reading* reading : {&report_.gold_text, &report_.end_to_end}) {
      reading->exact /= count;
      reading->f1 /= count;
    }
    if (times_.empty()) return;
    std::nth_element(times_.begin(), times_.begin() + times_.size() / 2, times_.end());
    report_.milliseconds_per_question = times_[times_.size() / 2];
  }

  FileSystem& files_;
  const engine::LoadedModel& model_;
  const QaOptions& options_;
  QaSet set_;
  QaReport report_;
  corpus::Bm25 bm25_;
  std::unique_ptr<engine::Engine> engine_;
  std::map<int64_t, std::vector<int64_t>> passages_of_;  // by row of the document
  std::map<int64_t, int64_t> document_of_;               // passage -> row
  std::map<int64_t, std::string> name_of_;               // row -> name
  std::map<std::string, int64_t> row_of_;
  int64_t document_depth_ = kDepth;  // documents and passages among which surely are kDepth texts
  int64_t passage_depth_ = kDepth;
  std::vector<double> times_;
};

}  // namespace

QaReport evaluate_qa(FileSystem& files, const engine::LoadedModel& model,
                     const QaOptions& options) {
  return Evaluation(files, model, options).run();
}

}  // namespace msa::eval
