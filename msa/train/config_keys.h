#pragma once
// Every key of a config with its range, in one place for whoever reads or prints them.

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "msa/train/config.h"

namespace msa::train {

template <typename Value>
using Choice = std::pair<std::string_view, Value>;

constexpr std::array<Choice<DeviceChoice>, 3> kDevices{
    {{"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"gpu", DeviceChoice::kGpu}}};
constexpr std::array<Choice<Recompute>, 2> kRecomputes{
    {{"none", Recompute::kNone}, {"layers", Recompute::kLayers}}};
constexpr std::array<Choice<Numbers>, 2> kNumbers{
    {{"float32", Numbers::kFloat32}, {"bfloat16", Numbers::kBFloat16}}};
constexpr std::array<Choice<OptimizerMethod>, 2> kOptimizerMethods{
    {{"muon", OptimizerMethod::kMuon}, {"adamw", OptimizerMethod::kAdamW}}};
constexpr std::array<Choice<RateCurve>, 3> kRateCurves{
    {{"constant", RateCurve::kConstant}, {"cosine", RateCurve::kCosine}, {"wsd", RateCurve::kWsd}}};
constexpr std::array<Choice<AuxiliaryMethod>, 5> kAuxiliaryMethods{
    {{"INFONCE", AuxiliaryMethod::kInfonce},
     {"INFONCE_FOCAL", AuxiliaryMethod::kInfonceFocal},
     {"INFONCE_DECOUPLE", AuxiliaryMethod::kInfonceDecouple},
     {"INFONCE_DECOUPLE_FOCAL", AuxiliaryMethod::kInfonceDecoupleFocal},
     {"BCE", AuxiliaryMethod::kBce}}};
constexpr std::array<Choice<Trained>, 2> kTrained{
    {{"all", Trained::kAll}, {"routers", Trained::kRouters}}};
constexpr std::array<Choice<RouterStart>, 4> kRouterStarts{
    {{"as_they_are", RouterStart::kAsTheyAre},
     {"tied", RouterStart::kTied},
     {"attention_keys", RouterStart::kAttentionKeys},
     {"random", RouterStart::kRandom}}};

constexpr int64_t kMaxCount = int64_t{1} << 53;
constexpr double kMaxSeconds = 1e9;
constexpr double kMaxWeight = 1e6;
constexpr double kLeastRate = 1e-12;

/// Names the keys of a table to `keys`, which reads or prints them. A `must` or `needs` counts for
/// a reader alone.
template <typename Keys>
void list_keys(Keys& keys, RunConfig& run) {
  keys.integer("seed", run.seed, 0, kMaxCount);
  keys.path("output", run.output);
  keys.choice("device", run.device, kDevices);
  keys.integer("threads", run.threads, 0, 1024);
  keys.choice("recompute", run.recompute, kRecomputes);
  keys.number("checkpoint_seconds", run.checkpoint_seconds, 1, kMaxSeconds);
  keys.integer("keep", run.keep, 1, 1'000'000);
  keys.needs("output");
}

template <typename Keys>
void list_keys(Keys& keys, ModelSource& model) {
  keys.path("from", model.from);
  keys.path("config", model.config);
  keys.path("tokenizer", model.tokenizer);
  keys.choice("precision", model.precision, kNumbers);
  keys.must(model.from.empty() != model.config.empty(), "config",
            "exactly one of \"from\" and \"config\"");
  keys.must(!model.tokenizer.empty() || !model.from.empty(), "tokenizer",
            "a folder where there is no \"from\"");
}

template <typename Keys>
void list_keys(Keys& keys, DataSource& source) {
  keys.text("name", source.name);
  keys.path("documents", source.documents);
  keys.paths("questions", source.questions);
  keys.number("weight", source.weight, 0, kMaxWeight);
  keys.number("question_weight", source.question_weight, 0, kMaxWeight);
  keys.boolean("needs_all_gold", source.needs_all_gold);
  keys.needs("name");
  keys.needs("documents");
}

template <typename Keys>
void list_keys(Keys& keys, DataConfig& data) {
  keys.path("cache", data.cache);
  keys.paths("held_back", data.held_back);
  keys.integer("max_document_tokens", data.max_document_tokens, 16, 1 << 20);
  keys.tables("source", data.sources);
  keys.needs("cache");
  keys.needs("source");
  double weight = 0;
  bool has_repeat = false;
  for (size_t i = 0; i < data.sources.size(); ++i) {
    weight += data.sources[i].weight;
    for (size_t j = 0; j < i; ++j) has_repeat |= data.sources[i].name == data.sources[j].name;
  }
  keys.must(data.sources.empty() || weight > 0, "source", "one source with a weight above 0");
  keys.must(!has_repeat, "source", "sources of different names");
}

template <typename Keys>
void list_keys(Keys& keys, OptimizerConfig& optimizer) {
  keys.choice("method", optimizer.method, kOptimizerMethods);
  keys.number("momentum", optimizer.momentum, 0, 0.9999);
  keys.number("weight_decay", optimizer.weight_decay, 0, 10);
  keys.number("beta1", optimizer.beta1, 0, 0.999999);
  keys.number("beta2", optimizer.beta2, 0, 0.999999);
  keys.number("epsilon", optimizer.epsilon, 1e-15, 1);
  keys.number("embedding_rate", optimizer.embedding_rate, 0, 1000);
  keys.number("vector_rate", optimizer.vector_rate, 0, 1000);
  keys.number("scalar_rate", optimizer.scalar_rate, 0, 1000);
  keys.number("clip", optimizer.clip, 0, 1e6);
}

template <typename Keys>
void list_keys(Keys& keys, GuardConfig& guard) {
  keys.integer("window", guard.window, 8, 100'000);
  keys.number("deviations", guard.deviations, 0, 1e6);
  keys.number("norm_ratio", guard.norm_ratio, 0, 1e9);
  keys.integer("max_skipped", guard.max_skipped, 1, 1'000'000);
}

template <typename Keys>
void list_keys(Keys& keys, StopRule& stop) {
  keys.integer("steps", stop.steps, 0, kMaxCount);
  keys.integer("tokens", stop.tokens, 0, kMaxCount);
  keys.number("seconds", stop.seconds, 0, kMaxSeconds);
  keys.number("recall", stop.recall, 0, 1);
  keys.must(stop.steps > 0 || stop.tokens > 0 || stop.seconds > 0, "steps",
            "steps, tokens or seconds above 0: recall alone may never be reached");
}

template <typename Keys>
void list_keys(Keys& keys, ScheduleConfig& schedule) {
  keys.choice("curve", schedule.curve, kRateCurves);
  keys.integer("warmup_steps", schedule.warmup_steps, 0, kMaxCount);
  keys.number("decay_share", schedule.decay_share, 0, 1);
  keys.number("final_factor", schedule.final_factor, 0, 1);
}

template <typename Keys>
void list_keys(Keys& keys, LossWeights& losses) {
  keys.number("language", losses.language, 0, kMaxWeight);
  keys.number("auxiliary", losses.auxiliary, 0, kMaxWeight);
  keys.number("ids", losses.ids, 0, kMaxWeight);
  keys.number("reconstruction", losses.reconstruction, 0, kMaxWeight);
  keys.number("answer", losses.answer, 0, kMaxWeight);
  keys.number("documents", losses.documents, 0, kMaxWeight);
  keys.must(losses.language + losses.auxiliary + losses.ids + losses.reconstruction +
                    losses.answer + losses.documents >
                0,
            "language", "one loss with a weight above 0");
}

template <typename Keys>
void list_keys(Keys& keys, AuxiliaryConfig& auxiliary) {
  keys.choice("method", auxiliary.method, kAuxiliaryMethods);
  keys.number("temperature", auxiliary.temperature, 0, 0.5);
  keys.boolean("learns_temperature", auxiliary.learns_temperature);
  keys.integer("negatives", auxiliary.negatives, 0, kMaxCount);
  keys.must(auxiliary.temperature == 0 || auxiliary.temperature >= 0.001, "temperature",
            "0 or a number in [0.001, 0.5]");
}

template <typename Keys>
void list_keys(Keys& keys, samples::QuestionShares& shares) {
  for (const auto& [key, share] : {Choice<double*>{"written", &shares.written},
                                   {"span", &shares.span},
                                   {"words", &shares.words},
                                   {"title", &shares.title},
                                   {"cloze", &shares.cloze},
                                   {"fact", &shares.fact}}) {
    keys.number(key, *share, 0, kMaxWeight);
  }
  keys.must(
      shares.written + shares.span + shares.words + shares.title + shares.cloze + shares.fact > 0,
      "written", "above 0 where no other kind is");
}

template <typename Keys>
void list_keys(Keys& keys, samples::TargetWeights& weights) {
  for (const auto& [key, weight] : {Choice<float*>{"document", &weights.document},
                                    {"alone_question", &weights.alone_question},
                                    {"alone_text", &weights.alone_text},
                                    {"alone_answer", &weights.alone_answer},
                                    {"answer", &weights.answer},
                                    {"end_of_retrieve", &weights.end_of_retrieve},
                                    {"answer_frame", &weights.answer_frame},
                                    {"text", &weights.text}}) {
    keys.number(key, *weight, 0, kMaxWeight);
  }
}

template <typename Keys>
void list_keys(Keys& keys, samples::Mixture& mixture) {
  constexpr int64_t kMaxTokens = int64_t{1} << 30;
  keys.integer("memory_tokens", mixture.memory_tokens, 0, kMaxTokens);
  keys.integer("sequence_tokens", mixture.sequence_tokens, 1, kMaxTokens);
  keys.integer("max_sequence_tokens", mixture.max_sequence_tokens, 1, kMaxTokens);
  keys.integer("max_question_tokens", mixture.max_question_tokens, 1, kMaxTokens);
  keys.integer("max_answer_tokens", mixture.max_answer_tokens, 1, kMaxTokens);
  keys.integer("num_neighbours", mixture.num_neighbours, 0, 1000);
  keys.integer("ids_max_digits", mixture.ids_max_digits, 1, 18);
  keys.integer("max_alone_answers", mixture.max_alone_answers, 1, 100);
  for (const auto& [key, share] :
       {Choice<double*>{"hidden_title_share", &mixture.hidden_title_share},
        {"neighbour_share", &mixture.neighbour_share},
        {"similar_share", &mixture.similar_share},
        {"invented_share", &mixture.invented_share},
        {"invented_question_share", &mixture.invented_question_share},
        {"language_share", &mixture.language_share},
        {"reading_share", &mixture.reading_share},
        {"no_answer_share", &mixture.no_answer_share},
        {"no_answer_text_share", &mixture.no_answer_text_share},
        {"no_answer_similar_share", &mixture.no_answer_similar_share},
        {"distractor_share", &mixture.distractor_share},
        {"end_of_retrieve_share", &mixture.end_of_retrieve_share},
        {"made_reading_share", &mixture.made_reading_share},
        {"alone_answers_share", &mixture.alone_answers_share},
        {"alone_gap_share", &mixture.alone_gap_share},
        {"renamed_share", &mixture.renamed_share},
        {"hop_share", &mixture.hop_share},
        {"chain_share", &mixture.chain_share},
        {"retry_share", &mixture.retry_share},
        {"lower_case_share", &mixture.lower_case_share}}) {
    keys.number(key, *share, 0, 1);
  }
  keys.table("questions", mixture.questions);
  keys.table("weights", mixture.weights);
  keys.must(mixture.language_share + mixture.reading_share <= 1, "reading_share",
            "at most 1 together with language_share");
  keys.must(mixture.alone_answers_share + mixture.alone_gap_share <= 1, "alone_gap_share",
            "at most 1 together with alone_answers_share");
}

template <typename Keys>
void list_keys(Keys& keys, PhaseConfig& phase) {
  keys.text("name", phase.name);
  keys.number("rate", phase.rate, kLeastRate, 1);
  keys.choice("train", phase.train, kTrained);
  keys.choice("routers", phase.routers, kRouterStarts);
  keys.integer("top_k", phase.top_k, 0, 4096);
  keys.boolean("force_gold", phase.force_gold);
  keys.number("dropout", phase.dropout, 0, 0.9);
  keys.table("stop", phase.stop);
  keys.table("schedule", phase.schedule);
  keys.table("losses", phase.losses);
  keys.table("auxiliary", phase.auxiliary);
  keys.table("mixture", phase.mixture);
  for (const char* key : {"name", "rate", "stop"}) keys.needs(key);
  keys.must(phase.losses.auxiliary == 0 || phase.mixture.memory_tokens > 0, "mixture",
            "with memory_tokens above 0 where losses.auxiliary is");
  keys.must(phase.train == Trained::kAll || phase.losses.auxiliary > 0, "train",
            "\"all\" where losses.auxiliary is 0: routers learn from that loss alone");
}

template <typename Keys>
void list_keys(Keys& keys, EvaluationConfig& evaluation) {
  keys.integer("every_steps", evaluation.every_steps, 0, kMaxCount);
  keys.integer("questions", evaluation.questions, 1, 10'000'000);
  keys.integer("readings", evaluation.readings, 0, 100'000);
  keys.integers("memory_tokens", evaluation.memory_tokens, 1, kMaxCount);
  keys.must(evaluation.every_steps == 0 || !evaluation.memory_tokens.empty(), "memory_tokens",
            "one size or more where every_steps is above 0");
  keys.must(std::is_sorted(evaluation.memory_tokens.begin(), evaluation.memory_tokens.end()),
            "memory_tokens", "rising");
}

template <typename Keys>
void list_keys(Keys& keys, MiningConfig& mining) {
  keys.integer("every_steps", mining.every_steps, 0, kMaxCount);
  keys.integer("questions", mining.questions, 1, 10'000'000);
  keys.integer("memory_tokens", mining.memory_tokens, 1, int64_t{1} << 30);
  keys.integer("documents", mining.documents, 1, 1000);
}

template <typename Keys>
void list_keys(Keys& keys, TrainConfig& config) {
  keys.table("run", config.run);
  keys.table("model", config.model);
  keys.table("data", config.data);
  keys.table("optimizer", config.optimizer);
  keys.table("guard", config.guard);
  keys.table("evaluation", config.evaluation);
  keys.table("mining", config.mining);
  keys.tables("phase", config.phases);
  for (const char* key : {"run", "model", "data", "phase"}) keys.needs(key);
  for (const PhaseConfig& phase : config.phases) {
    keys.must(phase.stop.recall == 0 || config.evaluation.every_steps > 0, "evaluation",
              "with every_steps above 0 where a phase stops by recall");
  }
  const bool has_similar = std::ranges::any_of(config.phases, [](const PhaseConfig& phase) {
    return phase.mixture.similar_share > 0 && phase.mixture.memory_tokens > 0;
  });
  keys.must(config.mining.every_steps == 0 || has_similar, "mining",
            "with every_steps 0 where no phase has mixture.similar_share above 0");
}

}  // namespace msa::train
