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
  const Sampler sampler(
      {.temperature = options.temperature, .top_p = options.top_p, .seed = options.seed});
}

Engine::Engine(const LoadedModel& model, std::unique_ptr<memory::Bank> bank)
    : model_(model), bank_(std::move(bank)) {}

std::unique_ptr<Engine> Engine::open(FileSystem& files, const LoadedModel& model,
                                     const std::filesystem::path& folder,
                                     const memory::GpuSourceOptions& gpu) {
  if (!model.config().has_memory()) {
    throw Error(ErrorCode::kMismatch, "the model ", model.name(),
                " has no router layers: it cannot use a memory");
  }
  auto engine = std::unique_ptr<Engine>(new Engine(model, memory::Bank::open(files, folder)));
  memory::BankFacts wanted = engine->bank_->facts();
  wanted.model_name = model.name();
  wanted.model_fingerprint = model.fingerprint();
  wanted.tokenizer_fingerprint = model.tokenizer_fingerprint();
  wanted.shape = model.config().memory_shape();
  memory::expect_equal(engine->bank_->facts(), wanted, "the bank " + folder.string());
  if (model.gpu() != nullptr) {
    memory::GpuSourceOptions tiers = gpu;
    tiers.gpu_reserve_bytes =
        std::max(tiers.gpu_reserve_bytes, model.session_bytes(kRoomForTokens));
    engine->source_ = engine->bank_->gpu_source(*model.gpu(), tiers);
  } else {
    engine->source_ = engine->bank_->source();
  }
  return engine;
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
  return Conversation(model_, *bank_, *source_, question, options).ask(on_text);
}

RouteResult Engine::route(std::string_view question, int64_t num_documents) const {
  expect_question(question);
  MSA_CHECK(num_documents >= 1, "num_documents must be at least 1, got ", num_documents);
  const AskOptions options;
  return Conversation(model_, *bank_, *source_, question, options).route(num_documents);
}

}  // namespace msa::engine
