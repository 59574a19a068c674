#include "msa/train/trainer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "msa/base/error.h"
#include "msa/samples/similar_documents.h"
#include "msa/train/compute_device.h"
#include "msa/train/config_changes.h"
#include "msa/train/mining.h"
#include "msa/train/model_folder.h"
#include "msa/train/run_needs.h"
#include "msa/train/run_report.h"

namespace msa::train {
namespace {

constexpr double kSecondsBetweenLines = 2;
constexpr size_t kQuestionsOfSearch = 1000;  // between two looks whether to stop

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Behind the longest sequence of any phase and any document.
int64_t num_positions(const RunSetup& setup) {
  int64_t most = setup.config.data.max_document_tokens + 1024;  // title, frame, prompt
  for (const PhaseConfig& phase : setup.config.phases) {
    most = std::max(most, phase.mixture.max_sequence_tokens);
  }
  return most + setup.layout->question_start() + 1;
}

std::unique_ptr<Evaluation> evaluation_of(const RunSetup& setup) {
  const EvaluationConfig& wanted = setup.config.evaluation;
  if (wanted.every_steps == 0 || wanted.memory_tokens.empty()) return nullptr;
  EvaluationOptions options;
  options.num_questions = wanted.questions;
  options.num_readings = wanted.readings;
  for (const PhaseConfig& phase : setup.config.phases) {
    options.max_reading_tokens =
        std::min(options.max_reading_tokens, phase.mixture.max_sequence_tokens);
  }
  options.memory_tokens = wanted.memory_tokens;
  options.seed = static_cast<uint64_t>(setup.config.run.seed);
  options.top_k = setup.model().msa.top_k;
  options.type = setup.type;
  return std::make_unique<Evaluation>(*setup.corpus, *setup.layout, options);
}

}  // namespace

Trainer::Trainer(FileSystem& files, RunSetup setup, bool resumes, OnLine on_line)
    : files_(files),
      setup_(std::move(setup)),
      on_line_(std::move(on_line)),
      output_(setup_.config.run.output),
      math_(setup_.model(), num_positions(setup_), setup_.device),
      peak_flops_(setup_.type == at::kBFloat16 ? peak_flops(name_of(setup_.device)) : 0),
      optimizer_(setup_.parameters->all(), setup_.config.optimizer),
      guard_(setup_.config.guard),
      checkpoints_(files, output_ / "checkpoints", setup_.config.run.keep),
      evaluation_(evaluation_of(setup_)) {
  MSA_CHECK(setup_.lock != nullptr, "the output folder of a run must be locked");
  MSA_CHECK(!files.exists(output_ / "model"), (output_ / "model").string(),
            " is there already: the run is done, or wants another output");
  MSA_CHECK(resumes || checkpoints_.steps().empty(), output_.string(),
            " holds checkpoints of a run: continue it with --resume, or choose another output");
  expect_room(files_, setup_, optimizer_.state());
  if (auto saved = resumes ? checkpoints_.newest(on_line_) : std::nullopt) {
    resume(std::move(*saved));
  }
  state_.config = print_config(setup_.config);
  saved_at_ = state_.seconds;
  std::set<std::string> to_come;
  const bool is_in_phase = state_.phase_step > 0;
  if (is_evaluation_due_ || (is_in_phase && is_phase_over())) to_come.insert("evaluation");
  if (is_mining_due_) to_come.insert("mining");
  log_ = RunLog::open(files, output_ / "log.jsonl", state_.step, to_come);
}

void Trainer::resume(Checkpoint saved) {
  setup_.parameters->copy_from(saved.parameters);
  optimizer_.load_state(saved.optimizer);
  const Json& more = saved.run.more;
  guard_.restore(more.at("guard"));
  recall_ = more.at("recall").get<double>();
  is_evaluation_due_ = more.value("is_evaluation_due", false);
  is_mining_due_ = more.value("is_mining_due", false);
  mined_ = to_groups(saved.similar);
  state_ = std::move(saved.run);
  const auto num_phases = static_cast<int64_t>(setup_.config.phases.size());
  if (state_.phase > num_phases || (state_.phase == num_phases && state_.phase_step > 0)) {
    throw Error(ErrorCode::kMismatch, output_.string(), ": the checkpoint of step ", state_.step,
                " is of phase ", state_.phase, ", the config has ", num_phases, " phases");
  }
  on_line_("resumed behind step " + std::to_string(state_.step));
  for (const std::string& change : config_changes(state_.config, print_config(setup_.config))) {
    on_line_("the config is another now: " + change);
  }
}

const PhaseConfig& Trainer::phase() const {
  return setup_.config.phases[static_cast<size_t>(state_.phase)];
}

bool Trainer::run(const StopAsked& stop) {
  stop_ = stop;
  const auto num_phases = static_cast<int64_t>(setup_.config.phases.size());
  try {
    for (; state_.phase < num_phases; ++state_.phase) {
      run_phase();
      state_.phase_step = 0;
      state_.phase_tokens = 0;
      state_.phase_seconds = 0;
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInterrupted) throw;
    write_checkpoint();
    write_report();
    return false;
  }
  finish();
  return true;
}

void Trainer::run_phase() {
  begin_phase();
  ForwardOptions options = phase_options(phase(), *setup_.parameters, setup_.type);
  options.recomputes_layers = setup_.config.run.recompute == Recompute::kLayers;
  StepSupply steps(*setup_.corpus, *setup_.layout, phase().mixture,
                   {.seed = static_cast<uint64_t>(setup_.config.run.seed)},
                   [&, flops = flops_options(phase(), options)](samples::Batch batch) {
                     return prepare_step(setup_.model(), std::move(batch), options, flops,
                                         setup_.device);
                   });
  if (phase().mixture.similar_share > 0) {
    steps.set_similar(mined_.empty() ? groups_by_words() : mined_);
  }
  steps.open(state_.step);
  while (true) {
    work_behind_step(steps);
    // Of a run that skips step after step the last checkpoint shall be from before them.
    const bool is_skipping = guard_.num_skipped_in_row() > 0;
    const double seconds = state_.seconds - saved_at_;
    if (seconds >= setup_.config.run.checkpoint_seconds && !is_skipping) write_checkpoint();
    if (is_phase_over()) break;
    expect_no_stop(stop_, "training");
    step(steps, options);
    const int64_t every = setup_.config.evaluation.every_steps;
    is_evaluation_due_ = every > 0 && state_.step % every == 0 && !is_phase_over();
    is_mining_due_ = is_to_mine();
  }
  evaluate();
}

/// What is due behind a step; again if it was stopped before.
void Trainer::work_behind_step(StepSupply& steps) {
  if (is_evaluation_due_) evaluate();
  is_evaluation_due_ = false;
  if (is_mining_due_ && !is_phase_over()) {
    steps.close();  // what was made ahead is of the groups before
    mine_misses();
    if (!mined_.empty()) steps.set_similar(mined_);
    steps.open(state_.step);
  }
  is_mining_due_ = false;
}

/// What a phase changes before its first step; nothing where it goes on.
void Trainer::begin_phase() {
  setup_.parameters->train_routers_alone(phase().train == Trained::kRouters);
  if (state_.phase_step > 0) return;
  guard_.begin_phase();
  recall_ = 0;
  if (phase().routers == RouterStart::kRandom) {
    setup_.parameters->draw_routers(static_cast<uint64_t>(setup_.config.run.seed));
  } else if (phase().routers != RouterStart::kAsTheyAre) {
    setup_.parameters->tie_routers(phase().routers == RouterStart::kAttentionKeys);
  }
  const AuxiliaryConfig& auxiliary = phase().auxiliary;
  if (auxiliary.temperature > 0 && setup_.parameters->has("temperature")) {
    const c10::NoGradGuard no_gradients;
    (*setup_.parameters)["temperature"].detach().fill_(auxiliary.temperature);
  }
  on_line_("phase " + phase().name);
}

/// Documents that BM25 takes for the answer to other documents' questions: the same in every run.
std::vector<std::vector<int32_t>> Trainer::groups_by_words() const {
  on_line_("data: looking for similar documents");
  const samples::TrainCorpus& corpus = *setup_.corpus;
  const samples::Mixture& mixture = phase().mixture;
  const int64_t num_documents = setup_.config.mining.documents;
  const samples::WordIndex index(corpus, mixture);
  const auto questions = samples::draw_searched(
      corpus, mixture, {.seed = static_cast<uint64_t>(setup_.config.run.seed)});
  std::vector<std::vector<int32_t>> found;
  for (size_t first = 0; first < questions.size(); first += kQuestionsOfSearch) {
    expect_no_stop(stop_, "the search for similar documents");
    const size_t count = std::min(kQuestionsOfSearch, questions.size() - first);
    std::ranges::move(index.search(std::span(questions).subspan(first, count),
                                   num_documents + samples::kMoreDocuments),
                      std::back_inserter(found));
  }
  return samples::similar_documents(corpus, mixture, questions, found, num_documents);
}

bool Trainer::is_to_mine() const {
  const int64_t every = setup_.config.mining.every_steps;
  return every > 0 && phase().mixture.similar_share > 0 && phase().mixture.memory_tokens > 0 &&
         state_.phase_step % every == 0 && !is_phase_over();
}

void Trainer::mine_misses() {
  const auto start = Clock::now();
  const ModelTensors tensors = gather_tensors(
      setup_.model(), [&](const std::string& name) { return setup_.parameters->find(name); },
      setup_.type);
  Mined mined = mine(*setup_.corpus, *setup_.layout, phase().mixture, math_, tensors,
                     {.wanted = setup_.config.mining,
                      .seed = static_cast<uint64_t>(setup_.config.run.seed),
                      .step = state_.step,
                      .top_k = setup_.model().msa.top_k,
                      .type = setup_.type,
                      .stop = stop_});
  const MiningReport report{.step = state_.step,
                            .phase = phase().name,
                            .memory_tokens = mined.recall.memory_tokens,
                            .num_questions = mined.recall.num_questions,
                            .num_groups = static_cast<int64_t>(mined.groups.size()),
                            .seconds = seconds_since(start),
                            .figures = recall_figures(mined.recall)};
  log_->add(to_json(report));
  on_line_(progress_line(report));
  if (!mined.groups.empty()) mined_ = std::move(mined.groups);  // else nothing is mistaken
}

std::vector<Figure> Trainer::recall_figures(const Recall& recall) const {
  return {{"recall_1", recall.at_1},
          {"recall_" + std::to_string(setup_.model().msa.top_k), recall.at_k}};
}

bool Trainer::is_phase_over() const {
  const StopRule& rule = phase().stop;
  if (rule.recall > 0 && recall_ >= rule.recall) return true;
  return progress_of(rule, {.steps = state_.phase_step,
                            .tokens = state_.phase_tokens,
                            .seconds = state_.phase_seconds}) >= 1;
}

void Trainer::step(StepSupply& steps, const ForwardOptions& options) {
  const auto start = Clock::now();
  const PreparedStep prepared = steps.take();
  const double progress = progress_of(
      phase().stop,
      {.steps = state_.phase_step, .tokens = state_.phase_tokens, .seconds = state_.phase_seconds});
  const double rate = phase().rate * rate_factor(phase().schedule, state_.phase_step, progress);
  const StepResult result = take_step(math_, *setup_.parameters, optimizer_, prepared, options,
                                      {.step = state_.step,
                                       .seed = static_cast<uint64_t>(setup_.config.run.seed),
                                       .rate = rate,
                                       .limits = guard_.limits()},
                                      [&] { steps.prepare_next(); });
  const double seconds = seconds_since(start);
  const double flops = prepared.flops.total();
  ++state_.step;
  ++state_.phase_step;
  state_.tokens += result.num_tokens;
  state_.phase_tokens += result.num_tokens;
  state_.seconds += seconds;
  state_.phase_seconds += seconds;

  std::string skipped;
  const std::string reason = guard_.add(result.outcome);
  if (!reason.empty()) {
    skipped =
        skipped_message(result.outcome, reason, result.bad_tensors,
                        result.bad_samples.empty() ? prepared.batch.names : result.bad_samples);
    on_line_(skipped);
  }
  StepReport line{.step = state_.step,
                  .phase = phase().name,
                  .seconds = state_.seconds,
                  .tokens = state_.tokens,
                  .rate = rate,
                  .gradient_norm = result.outcome.gradient_norm,
                  .tokens_per_second = static_cast<double>(result.num_tokens) / seconds,
                  .flops_per_second = flops / seconds,
                  .flop_utilisation = peak_flops_ > 0 ? flops / seconds / peak_flops_ : 0,
                  .num_skipped = guard_.num_skipped(),
                  .losses = result.losses,
                  .routing = result.routing,
                  .skipped = skipped};
  log_->add(to_json(line));
  if (guard_.must_stop()) {
    write_report();
    throw Error(ErrorCode::kInternal, guard_.num_skipped_in_row(),
                " steps skipped one after the other: the run stops; its last checkpoint is from "
                "before them");
  }
  if (state_.seconds - shown_at_ < kSecondsBetweenLines) return;
  shown_at_ = state_.seconds;
  on_line_(progress_line(line));
}

void Trainer::evaluate() {
  if (evaluation_ == nullptr || !setup_.model().has_memory()) return;
  const ModelTensors tensors = gather_tensors(
      setup_.model(), [&](const std::string& name) { return setup_.parameters->find(name); },
      setup_.type);
  const auto lines = evaluation_->run(math_, tensors, stop_);
  const auto reading = evaluation_->read(math_, tensors, stop_);
  for (const Recall& recall : lines) {
    EvaluationReport report{.step = state_.step,
                            .phase = phase().name,
                            .memory_tokens = recall.memory_tokens,
                            .figures = recall_figures(recall)};
    if (reading && &recall == &lines.front()) {
      report.figures.emplace_back("answer_exact", reading->exact);
      report.figures.emplace_back("answer_token", reading->token_probability);
    }
    log_->add(to_json(report));
    on_line_(progress_line(report));
  }
  if (!lines.empty()) recall_ = lines.front().at_1;
}

void Trainer::write_checkpoint() {
  log_->sync();
  state_.more = {{"guard", guard_.state()},
                 {"recall", recall_},
                 {"is_evaluation_due", is_evaluation_due_},
                 {"is_mining_due", is_mining_due_}};
  checkpoints_.write({.run = state_,
                      .parameters = setup_.parameters->all(),
                      .optimizer = optimizer_.state(),
                      .similar = to_tensors(mined_)});
  saved_at_ = state_.seconds;
  on_line_("checkpoint behind step " + std::to_string(state_.step));
}

void Trainer::write_report() const {
  log_->sync();
  const auto lines = read_log(files_, output_ / "log.jsonl");
  const std::string page = run_report(lines, output_.filename().string());
  write_file_atomically(files_, output_ / "report.html", std::as_bytes(std::span(page)));
}

void Trainer::finish() {
  write_checkpoint();
  write_report();
  write_model_folder(
      files_, output_ / "model", *setup_.parameters,
      {.numbers = setup_.config.model.precision, .tokenizer = setup_.tokenizer_folder()});
  on_line_("model written to " + (output_ / "model").string());
}

}  // namespace msa::train
