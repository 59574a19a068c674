#include "msa/train/run_setup.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/threads.h"
#include "msa/train/compute_device.h"

namespace msa::train {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

model::ModelConfig model_config(FileSystem& files, const ModelSource& source) {
  if (!source.from.empty()) return model::load_config(files, source.from);
  const std::string name = source.config.string();
  return model::parse_config(parse_json(read_file(files, source.config, kMaxConfigBytes), name),
                             name);
}

samples::TrainCorpusOptions corpus_options(const TrainConfig& config) {
  samples::TrainCorpusOptions options;
  for (const DataSource& source : config.data.sources) {
    options.sources.push_back({.name = source.name,
                               .documents = source.documents,
                               .questions = source.questions,
                               .needs_all_gold = source.needs_all_gold});
  }
  options.held_back = config.data.held_back;
  options.cache = config.data.cache;
  options.max_document_tokens = config.data.max_document_tokens;
  options.num_threads = config.run.threads;
  return options;
}

void check_phase(const PhaseConfig& phase, const model::ModelConfig& model) {
  if (phase.mixture.memory_tokens == 0) return;
  MSA_CHECK(model.has_memory(), "phase ", phase.name,
            " asks questions over a memory, and the model has no router layers");
  const bool normalises = phase.auxiliary.method != AuxiliaryMethod::kBce;
  MSA_CHECK(normalises == model.msa.normalises_routing, "phase ", phase.name, ": method ",
            name_of(phase.auxiliary.method), " wants routing vectors ",
            normalises ? "of unit length" : "as they are",
            ", and aux_loss_method of the model's config.json says otherwise");
}

/// With the folders above it, where they are not there.
void create_folder(FileSystem& files, const std::filesystem::path& folder) {
  if (folder.empty() || files.exists(folder)) return;
  create_folder(files, folder.parent_path());
  files.create_directory(folder);
}

}  // namespace

std::filesystem::path RunSetup::tokenizer_folder() const {
  return config.model.tokenizer.empty() ? config.model.from : config.model.tokenizer;
}

RunSetup set_up(FileSystem& files, TrainConfig config, const SetUpOptions& options) {
  RunSetup setup;
  setup.config = std::move(config);
  const TrainConfig& wanted = setup.config;
  setup.device = open_compute_device(name_of(wanted.run.device));
  setup.type = wanted.model.precision == Numbers::kBFloat16 ? at::kBFloat16 : at::kFloat;
  MSA_CHECK(setup.device.is_cuda() || setup.type == at::kFloat,
            "model.precision bfloat16 needs a GPU; on the CPU it is float32");
  if (options.writes) {
    create_folder(files, wanted.run.output);
    setup.lock = FileLock::acquire(wanted.run.output / "lock");
  }
  at::set_num_threads(
      static_cast<int>(wanted.run.threads > 0 ? wanted.run.threads : at::get_num_threads()));

  setup.tokenizer = text::Tokenizer::load(files, setup.tokenizer_folder());
  const model::ModelConfig model = model_config(files, wanted.model);
  MSA_CHECK(setup.tokenizer->vocab_size() <= model.vocab_size, "the tokenizer has ",
            setup.tokenizer->vocab_size(), " tokens, the model ", model.vocab_size);
  for (const PhaseConfig& phase : wanted.phases) check_phase(phase, model);
  setup.layout = std::make_unique<text::PromptLayout>(*setup.tokenizer, model.msa.top_k);
  setup.corpus = samples::TrainCorpus::open(
      files, *setup.layout, corpus_options(wanted),
      [&, last = std::string()](const std::string& what, double /*share*/) mutable {
        expect_no_stop(options.stop, "reading of documents");
        if (what == last) return;
        last = what;
        if (options.on_line) options.on_line("data: " + what);
      });

  auto parameters = wanted.model.from.empty()
                        ? Parameters::random(model, static_cast<uint64_t>(wanted.run.seed))
                        : Parameters::load(files, wanted.model.from, model);
  setup.parameters = std::make_unique<Parameters>(std::move(parameters));
  if (!setup.device.is_cpu()) setup.parameters->move_to(setup.device);
  return setup;
}

}  // namespace msa::train
