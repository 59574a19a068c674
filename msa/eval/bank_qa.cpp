#include "msa/eval/bank_qa.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/corpus/answer_metrics.h"
#include "msa/corpus/document_reader.h"
#include "msa/engine/engine.h"
#include "msa/storage/digest.h"

namespace msa::eval {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kDepth = 16;

/// Passages looked at for kDepth distinct texts: few documents have more than one.
constexpr int64_t kPassages = 2 * kDepth;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

storage::Digest text_digest(const memory::Document& document) {
  return storage::digest_of(std::as_bytes(std::span(document.text)));
}

/// The smallest value that is not below a share of all.
double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto place =
      std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(place), values.end());
  return values[place];
}

/// What the first prefill of a question found, and the answer where one was written.
struct Found {
  std::vector<engine::ScoredPassage> routed;
  std::vector<engine::Round::Layer> layers;
  std::vector<int64_t> named;
  std::string answer;
  int64_t rounds = 0;
  engine::Timing timing;
};

class BankEvaluation {
 public:
  BankEvaluation(FileSystem& files, const engine::LoadedModel& model, const engine::Engine& engine,
                 const BankQaOptions& options)
      : options_(options), engine_(engine) {
    options_.ask.num_documents = kPassages;
    const memory::BankStats stats = engine_.bank().stats();
    report_.documents = stats.documents;
    report_.passages = stats.passages;
    report_.chunks = stats.chunks;
    report_.tokens = stats.tokens;
    for (const int64_t layer : model.config().msa.router_layers) {
      report_.layers.push_back({layer, {}});
    }
    int64_t number = 0;
    for (corpus::Question& question : corpus::read_questions(files, options.questions)) {
      expect_no_stop();
      ++number;
      if (question.id.empty()) question.id = std::to_string(number);
      std::set<storage::Digest> gold;
      for (const std::string& name : question.documents) {
        if (const auto document = engine_.bank().find(name)) gold.insert(text_digest(*document));
      }
      if (gold.empty()) {
        ++report_.left_out;
      } else {
        questions_.push_back({std::move(question), std::move(gold)});
      }
    }
    MSA_CHECK(!questions_.empty(), options.questions.string(),
              ": no question to ask has a document in ", engine.bank().folder().string());
  }

  BankQaReport run() {
    const auto start = Clock::now();
    const auto total = static_cast<int64_t>(questions_.size());
    for (const Asked& asked : questions_) {
      expect_no_stop();
      if (report_.questions > 0 && options_.max_seconds > 0 &&
          seconds_since(start) > options_.max_seconds) {
        break;
      }
      evaluate(asked);
      ++report_.questions;
      if (options_.on_progress) options_.on_progress(report_.questions, total);
    }
    report_.seconds = seconds_since(start);
    average();
    return report_;
  }

 private:
  struct Asked {
    corpus::Question question;
    std::set<storage::Digest> gold;  // of texts
  };

  void expect_no_stop() const {
    if (!options_.stop || !options_.stop()) return;
    throw Error(ErrorCode::kInterrupted, "stopped after ", report_.questions, " questions");
  }

  Found find(const std::string& question) const {
    Found found;
    if (!options_.reads) {
      engine::RouteResult result = engine_.route(question, kPassages);
      found.routed = std::move(result.documents);
      found.layers = std::move(result.layers);
      found.timing = result.timing;
      return found;
    }
    engine::Answer answer = engine_.ask(question, options_.ask);
    found.routed = std::move(answer.routed);
    found.layers = std::move(answer.rounds.front().routed);
    found.named = std::move(answer.rounds.front().ids);
    found.answer = std::move(answer.answer);
    found.rounds = answer.usage.rounds;
    found.timing = answer.timing;
    return found;
  }

  void evaluate(const Asked& asked) {
    const Found found = find(asked.question.text);
    times_.push_back(found.timing.total_ms);
    report_.rounds += static_cast<double>(found.rounds);
    std::vector<int64_t> ids;
    for (const auto& passage : found.routed) ids.push_back(passage.id);
    add_hit(asked, ids, report_.fused);
    bool is_in_union = false;
    for (size_t slot = 0; slot < found.layers.size(); ++slot) {
      std::vector<int64_t> own;
      for (const auto& [id, score] : found.layers[slot].passages) own.push_back(id);
      is_in_union |= add_hit(asked, own, report_.layers[slot].recall);
    }
    report_.union_at_16 += is_in_union;
    const bool is_named = !found.named.empty() && asked.gold.contains(text_of(found.named.front()));
    report_.named += is_named;
    if (options_.reads && !asked.question.answers.empty()) {
      report_.end_to_end.exact += corpus::exact_match(found.answer, asked.question.answers);
      report_.end_to_end.f1 += corpus::f1(found.answer, asked.question.answers);
    }
    if (options_.on_question) options_.on_question(to_line(record(asked.question, found)));
  }

  /// Whether the first kDepth different texts of a ranking hold a gold one.
  bool add_hit(const Asked& asked, const std::vector<int64_t>& ids, Recall& recall) {
    std::set<storage::Digest> seen;
    for (const int64_t id : ids) {
      const storage::Digest text = text_of(id);
      seen.insert(text);
      if (asked.gold.contains(text)) {
        recall.at_1 += seen.size() == 1;
        recall.at_16 += 1;
        return true;
      }
      if (seen.size() == kDepth) break;
    }
    return false;
  }

  /// Of a passage's document.
  storage::Digest text_of(int64_t id) {
    const memory::Bank& bank = engine_.bank();
    const memory::Passage& passage = bank.passages()[*bank.place_of(id)];
    const auto [entry, is_new] = texts_.try_emplace(passage.document);
    if (is_new) {
      if (const auto document = bank.document_of(passage)) entry->second = text_digest(*document);
    }
    return entry->second;
  }

  OrderedJson record(const corpus::Question& question, const Found& found) const {
    OrderedJson line{{"id", question.id}, {"question", question.text}};
    OrderedJson routed = OrderedJson::array();
    for (size_t i = 0; i < std::min(found.routed.size(), kDepth); ++i) {
      const engine::ScoredPassage& passage = found.routed[i];
      routed.push_back({{"id", passage.id}, {"name", passage.name}, {"score", passage.score}});
    }
    line["routed"] = std::move(routed);
    OrderedJson layers = OrderedJson::array();
    for (const auto& layer : found.layers) {
      OrderedJson ids = OrderedJson::array();
      for (const auto& [id, score] : layer.passages) ids.push_back(id);
      layers.push_back({{"layer", layer.layer}, {"ids", std::move(ids)}});
    }
    line["layers"] = std::move(layers);
    line["documents"] = question.documents;
    if (options_.reads) {
      line["named"] = found.named;
      line["rounds"] = found.rounds;
      line["answers"] = question.answers;
      line["answer"] = found.answer;
    }
    line["timing_ms"] = {{"prefill", found.timing.prefill_ms},
                         {"route", found.timing.route_ms},
                         {"write", found.timing.write_ms},
                         {"total", found.timing.total_ms}};
    return line;
  }

  void average() {
    const double count = std::max<double>(1, static_cast<double>(report_.questions));
    std::vector<double*> sums{
        &report_.fused.at_1,       &report_.fused.at_16,   &report_.union_at_16, &report_.named,
        &report_.end_to_end.exact, &report_.end_to_end.f1, &report_.rounds};
    for (LayerRecall& layer : report_.layers) {
      sums.push_back(&layer.recall.at_1);
      sums.push_back(&layer.recall.at_16);
    }
    for (double* sum : sums) *sum /= count;
    report_.median_ms = quantile(times_, 0.5);
    report_.p95_ms = quantile(times_, 0.95);
  }

  BankQaOptions options_;
  const engine::Engine& engine_;
  BankQaReport report_;
  std::vector<Asked> questions_;
  std::map<int64_t, storage::Digest> texts_;  // by row of the document
  std::vector<double> times_;
};

}  // namespace

BankQaReport evaluate_bank_qa(FileSystem& files, const engine::LoadedModel& model,
                              const engine::Engine& engine, const BankQaOptions& options) {
  return BankEvaluation(files, model, engine, options).run();
}

}  // namespace msa::eval
