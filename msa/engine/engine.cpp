#include "msa/engine/engine.h"

#include <algorithm>
#include <utility>

#include "msa/base/error.h"
#include "msa/engine/conversation.h"
#include "msa/engine/loaded_model.h"
#include "msa/engine/sampler.h"
#include "msa/text/unicode.h"

namespace msa::engine {
namespace {

constexpr size_t kMaxQuestionBytes = size_t{64} << 10;

/// Of one conversation, beside a bank that takes what the GPU has left.
constexpr int64_t kRoomForTokens = 8192;

void expect_question(std::string_view question) {
  MSA_CHECK(question.find_first_not_of(" \t\r\n") != std::string_view::npos,
            "the question is empty");
  MSA_CHECK(question.size() <= kMaxQuestionBytes, "the question has ", question.size(),
            " bytes, at most ", kMaxQuestionBytes, " are accepted");
  if (const auto place = text::find_invalid_utf8(question)) {
    throw Error(ErrorCode::kInvalidArgument, "the question is not UTF-8 at byte ", *place);
  }
}

}  // namespace

void expect_valid(const AskOptions& options) {
  MSA_CHECK(options.max_rounds >= 1 && options.max_rounds <= 100,
            "max_rounds must be in [1, 100], got ", options.max_rounds);
  MSA_CHECK(options.max_documents_per_round >= 1 && options.max_documents_per_round <= 64,
            "max_documents_per_round must be in [1, 64], got ", options.max_documents_per_round);
  MSA_CHECK(options.max_answer_tokens >= 1 && options.max_answer_tokens <= 100'000,
            "max_answer_tokens must be in [1, 100000], got ", options.max_answer_tokens);
  MSA_CHECK(options.num_documents >= 0 && options.num_documents <= 10'000,
            "num_documents must be in [0, 10000], got ", options.num_documents);
  MSA_CHECK(options.routing_weight >= 0 && options.routing_weight <= 1e6,
            "routing_weight must be in [0, 1e6], got ", options.routing_weight);
  MSA_CHECK(options.decline_from >= 0 && options.decline_from <= 1,
            "decline_from must be in [0, 1], got ", options.decline_from);
  const Sampler sampler(
      {.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed});
}

Engine::Engine(FileSystem& files, const LoadedModel& model, std::filesystem::path folder,
               const EngineOptions& options)
    : files_(files), model_(model), folder_(std::move(folder)), options_(options) {}

std::unique_ptr<Engine> Engine::open(FileSystem& files, const LoadedModel& model,
                                     const std::filesystem::path& folder,
                                     const EngineOptions& options) {
  if (!model.config().has_memory()) {
    throw Error(ErrorCode::kMismatch, "the model ", model.name(),
                " has no router layers: it cannot use a memory");
  }
  auto engine = std::unique_ptr<Engine>(new Engine(files, model, folder, options));
  engine->load();
  return engine;
}

bool Engine::refresh() {
  if (source_ && bank_->is_current()) return false;
  load();
  return true;
}

void Engine::leave_out_damaged() { load_undamaged(); }

/// Once something was damaged it is looked for again: what is new may be damaged too.
void Engine::load() {
  if (bank_ && !bank_->problems().empty()) {
    load_undamaged();
    return;
  }
  try {
    take(memory::Bank::open(files_, folder_, options_.filter));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kCorruption) throw;
    load_undamaged();
  }
}

void Engine::load_undamaged() {
  take(memory::Bank::open_undamaged(files_, folder_, options_.filter));
}

void Engine::take(std::unique_ptr<memory::Bank> bank) {
  memory::BankFacts wanted = bank->facts();
  wanted.model_name = model_.name();
  wanted.model_fingerprint = model_.fingerprint();
  wanted.tokenizer_fingerprint = model_.tokenizer_fingerprint();
  wanted.shape = model_.config().memory_shape();
  memory::expect_equal(bank->facts(), wanted, "the bank " + folder_.string());
  if (model_.gpu() == nullptr) {
    source_ = bank->source(std::move(source_));
  } else {
    source_.reset();  // the GPU may not hold both
    memory::GpuSourceOptions tiers = options_.gpu;
    tiers.gpu_reserve_bytes =
        std::max(tiers.gpu_reserve_bytes, model_.session_bytes(kRoomForTokens));
    source_ = bank->gpu_source(*model_.gpu(), tiers);
  }
  bank_ = std::move(bank);
}

const memory::ChunkSource& Engine::source() const {
  if (!source_) {
    throw Error(ErrorCode::kInternal, "the bank ", folder_.string(),
                " could not be loaded after it had changed");
  }
  return *source_;
}

std::string Engine::placement_note() const {
  const auto* source = dynamic_cast<const memory::GpuSource*>(source_.get());
  if (source == nullptr) return {};
  const memory::Tiers& tiers = source->tiers();
  const bool is_all_on_gpu =
      tiers.content == memory::ContentPlace::kGpu && tiers.host_key_bytes == 0;
  return is_all_on_gpu ? std::string() : to_text(tiers);
}

Answer Engine::ask(std::string_view question, const AskOptions& options,
                   const OnText& on_text) const {
  expect_question(question);
  expect_valid(options);
  return Conversation(model_, *bank_, source(), question, options).ask(on_text);
}

RouteResult Engine::route(std::string_view question, int64_t num_documents) const {
  expect_question(question);
  MSA_CHECK(num_documents >= 1, "num_documents must be at least 1, got ", num_documents);
  const AskOptions options;
  return Conversation(model_, *bank_, source(), question, options).route(num_documents);
}

}  // namespace msa::engine
