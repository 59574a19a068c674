#include "msa/eval/qa.h"

#include <algorithm>
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

/// Whether a ranking's first and first sixteen names hold a gold one.
struct Hit {
  bool at_1 = false;
  bool at_16 = false;

  void add_to(Recall& recall) const {
    recall.at_1 += at_1;
    recall.at_16 += at_16;
  }
};

template <typename Names>
Hit hit_of(const QaSet& set, const corpus::Question& question, const Names& names) {
  Hit hit;
  int64_t place = 0;
  for (const std::string& name : names) {
    if (place >= kDepth) break;
    const bool is_gold = set.is_gold(question, name);
    hit.at_1 |= is_gold && place == 0;
    hit.at_16 |= is_gold;
    ++place;
  }
  return hit;
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
      evaluate(question);
      if (options_.on_progress) options_.on_progress(++report_.questions, total);
    }
    report_.questions = total;
    average();
    return report_;
  }

 private:
  void build_bank() {
    files_.create_directory(options_.work);
    const auto documents = options_.work / "documents.jsonl";
    write_documents(files_, documents, set_.documents);
    engine::IngestOptions ingest;
    ingest.bank = options_.work / "bank";
    ingest.inputs = {documents};
    const auto done = engine::ingest(files_, model_, ingest);
    if (done.seconds > 0) {
      report_.ingest_tokens_per_second = static_cast<double>(done.tokens) / done.seconds;
    }
    engine_ = engine::Engine::open(files_, model_, ingest.bank);
    const auto stats = engine_->bank().stats();
    MSA_CHECK(stats.documents == static_cast<int64_t>(set_.documents.size()), ingest.bank.string(),
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
  }

  const std::string& name_of(int64_t passage) const {
    return name_of_.at(document_of_.at(passage));
  }

  void evaluate(const corpus::Question& question) {
    OrderedJson line{{"id", question.id}, {"question", question.text}};
    const auto routed = engine_->route(question.text, kDepth);
    std::vector<std::string> names;
    for (const auto& document : routed.documents) names.push_back(document.name);
    hit_of(set_, question, names).add_to(report_.fused);
    bool is_in_union = false;
    for (size_t slot = 0; slot < routed.layers.size(); ++slot) {
      std::vector<std::string> own;
      for (const auto& [id, score] : routed.layers[slot].passages) own.push_back(name_of(id));
      const Hit hit = hit_of(set_, question, own);
      hit.add_to(report_.layers[slot].recall);
      is_in_union |= hit.at_16;
    }
    report_.union_at_16 += is_in_union;
    hit_of(set_, question, search(question.text)).add_to(report_.bm25);
    line["routed"] = names;
    if (options_.reads) read(question, line);
    if (options_.on_question) options_.on_question(to_line(line));
  }

  /// Names by BM25, a text that stands under several titles once.
  std::vector<std::string> search(const std::string& query) const {
    std::vector<std::string> names;
    std::set<int64_t> seen;
    for (const auto& found : bm25_.search(query, 4 * kDepth)) {
      const std::string& name = set_.documents[static_cast<size_t>(found.document)].name;
      if (seen.insert(set_.text_of.at(name)).second) names.push_back(name);
    }
    return names;
  }

  void read(const corpus::Question& question, OrderedJson& line) {
    const auto answer = engine_->ask(question.text, options_.ask);
    times_.push_back(answer.timing.total_ms);
    add_reading(question, answer.answer, report_.end_to_end);
    const auto& named = answer.rounds.front().ids;
    const bool is_named = !named.empty() && set_.is_gold(question, name_of(named.front()));
    report_.named += is_named;
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
    line["answer"] = answer.answer;
    line["named_gold"] = is_named;
    line["answer_with_gold_text"] = with_gold.answer;
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
  std::vector<double> times_;
};

}  // namespace

QaReport evaluate_qa(FileSystem& files, const engine::LoadedModel& model,
                     const QaOptions& options) {
  return Evaluation(files, model, options).run();
}

}  // namespace msa::eval
