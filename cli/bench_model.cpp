// msa bench encode, msa bench decode: tokens through the model, side by side and one by one.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/cpu_session.h"
#include "msa/model/gpu_model.h"
#include "msa/model/random_weights.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  std::string shape;
  BenchFlags bench;
  int64_t length = 512;
  int64_t batch = 8;
};

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, Noise& noise) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto unit = (noise.next() + 2.0F) / 4.0F;
    tokens.push_back(static_cast<int32_t>(unit * static_cast<float>(vocab_size - 1)));
  }
  return tokens;
}

/// Largest difference of two lists, NaN if a value is; they must be of one length.
double largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) return difference;
  }
  return largest;
}

/// What is measured: a model folder, or random weights of a shape.
class Subject {
 public:
  Subject(const Flags& flags, bool prefers_bf16) {
    if (flags.shape.empty()) {
      loaded_ = flags.model.load(prefers_bf16);
      gpu_name_ = loaded_->gpu() == nullptr ? "" : loaded_->gpu()->facts().name;
      return;
    }
    MSA_CHECK(flags.model.folder.empty(), "give --model or --shape, not both");
    if (flags.model.threads != 0) set_num_threads(flags.model.threads);
    const Json json = parse_json(read_file(real_file_system(), flags.shape, 1 << 20), flags.shape);
    auto config = model::parse_config(json, flags.shape);
    auto weights = model::random_weights(config, 1);
    transformer_ = model::Transformer::of(std::move(config), std::move(weights));
    gpu_ = flags.model.open_gpu();
    if (gpu_ == nullptr) return;
    gpu_name_ = gpu_->facts().name;
    gpu_model_ = std::make_unique<model::GpuModel>(*gpu_, *transformer_, no_head_);
  }

  const model::ModelConfig& config() const { return transformer().config(); }
  bool is_exact() const {
    return gpu_name_.empty() && transformer().precision() == model::Precision::kFloat32;
  }
  std::string place() const {
    return gpu_name_.empty() ? std::to_string(num_threads()) + " threads" : gpu_name_;
  }
  int64_t num_parameters() const { return transformer().weights().num_parameters; }

  /// Of a weight, as decoding reads it.
  double stored_bytes() const {
    return static_cast<double>(transformer().weights().step.head.element_size());
  }

  /// Null on the CPU.
  const kernels::Gpu* gpu() const { return loaded_ != nullptr ? loaded_->gpu() : gpu_.get(); }

  memory::EncodedDocuments encode(std::span<const std::vector<int32_t>> documents) const {
    if (loaded_ != nullptr) return loaded_->encode_documents(documents);
    return gpu_model_ != nullptr ? gpu_model_->encode_documents(documents)
                                 : transformer_->encode_documents(documents);
  }

  /// Without memory.
  std::unique_ptr<model::Session> new_session() const {
    if (loaded_ != nullptr) return loaded_->new_session(nullptr);
    if (gpu_model_ != nullptr) return gpu_model_->new_session({});
    return std::make_unique<model::CpuSession>(*transformer_, model::SessionOptions{});
  }

 private:
  const model::Transformer& transformer() const {
    return loaded_ != nullptr ? loaded_->transformer() : *transformer_;
  }

  std::unique_ptr<engine::LoadedModel> loaded_;
  std::unique_ptr<model::Transformer> transformer_;
  model::PromptHead no_head_;
  std::unique_ptr<kernels::Gpu> gpu_;
  std::unique_ptr<model::GpuModel> gpu_model_;
  std::string gpu_name_;
};

/// Values of the matrices that a token meets in the layers and, if it is decoded, in the
/// vocabulary's.
double values_met(const model::ModelConfig& c, bool is_decoded) {
  const auto q = static_cast<double>(c.num_heads * c.head_dim);
  const auto kv = static_cast<double>(c.num_kv_heads * c.head_dim);
  const auto embed = static_cast<double>(c.embed_dim);
  const auto ffn = static_cast<double>(c.ffn_dim);
  const auto layers = static_cast<double>(c.num_layers);
  const double all = layers * embed * (2 * kv + 2 * q + 3 * ffn);
  if (is_decoded) return all + embed * static_cast<double>(c.vocab_size);
  // Routing keys are projected too; behind the last layer's keys nothing is.
  const auto routers = static_cast<double>(c.msa.router_layers.size());
  return all + routers * embed * kv - embed * (2 * q + 3 * ffn);
}

/// Bytes a second that the GPU reads at most, measured on 2 GiB.
double read_limit(const kernels::Gpu& gpu, const BenchFlags& flags) {
  const kernels::GpuBuffer memory(gpu, int64_t{2} << 30);
  const kernels::GpuBuffer sum(gpu, 16);
  const Times times = time_runs(flags, [&] {
    gpu.library().read_all(memory.data(), memory.size(), reinterpret_cast<uint32_t*>(sum.data()),
                           nullptr);
    gpu.library().synchronize();
  });
  return static_cast<double>(memory.size()) / times.best;
}

/// `more`: figures of the stage, after its rates.
void report(const Flags& flags, const char* stage, const Subject& subject, int64_t tokens,
            const Times& times, const OrderedJson& more) {
  const auto rate = [&](double seconds) {
    return std::round(static_cast<double>(tokens) / seconds);
  };
  const char* type = subject.is_exact() ? "f32" : "bf16";
  if (flags.bench.is_json) {
    OrderedJson json{{"stage", stage},
                     {"type", type},
                     {"on", subject.place()},
                     {"parameters", subject.num_parameters()},
                     {"tokens", tokens},
                     {"tokens_per_second", rate(times.median)},
                     {"slowest", rate(times.worst)},
                     {"fastest", rate(times.best)}};
    json.update(more);
    print_json(json);
  } else {
    std::printf("%s %s, %s: %.0f tokens/s median, %.0f slowest, %.0f fastest", stage, type,
                subject.place().c_str(), rate(times.median), rate(times.worst), rate(times.best));
    for (const auto& [name, value] : more.items()) {
      std::printf("; %s %.3g", name.c_str(), value.get<double>());
    }
    std::printf("\n");
  }
}

void encode(const Flags& flags) {
  const Subject subject(flags, true);
  Noise noise(3);
  std::vector<std::vector<int32_t>> documents;
  for (int64_t n = 0; n < flags.batch; ++n) {
    documents.push_back(random_tokens(flags.length, subject.config().vocab_size, noise));
  }
  // Check: side by side as each alone.
  const auto together = subject.encode(documents);
  const auto alone = subject.encode(std::span(documents).last(1));
  const std::span<const float> all = together.routing_key.back();
  const std::span<const float> own = alone.routing_key.back();
  const double worst = largest_difference(all.last(std::min(all.size(), own.size())), own);
  // Unit vectors; bfloat16 products of another shape add up in another order.
  if (!(worst < (subject.is_exact() ? 1e-3 : 2e-2))) {
    throw Error(ErrorCode::kInternal,
                "wrong result: a document encodes differently beside others, by ", worst);
  }
  const Times times = time_runs(flags.bench, [&] { subject.encode(documents); });
  const int64_t tokens = flags.batch * flags.length;
  const double operations =
      2 * values_met(subject.config(), false) * static_cast<double>(tokens) / times.median;
  report(flags, "encode", subject, tokens, times, {{"teraflops_of_products", operations / 1e12}});
}

void decode(const Flags& flags) {
  const Subject subject(flags, false);
  Noise noise(5);
  const auto prompt = random_tokens(32, subject.config().vocab_size, noise);
  const auto tokens = random_tokens(flags.length, subject.config().vocab_size, noise);
  // Check: one by one as all at once.
  const auto few = std::span(tokens).first(std::min<size_t>(8, tokens.size()));
  const auto stepped = subject.new_session();
  stepped->extend(prompt);
  std::span<const float> logits;
  for (const int32_t token : few) logits = stepped->extend(std::span(&token, 1));
  const std::vector<float> by_steps(logits.begin(), logits.end());
  const auto whole = subject.new_session();
  whole->extend(prompt);
  logits = whole->extend(few);
  double largest = 0;
  for (const float logit : logits) {
    largest = std::max(largest, std::abs(static_cast<double>(logit)));
  }
  const double worst = largest_difference(by_steps, logits);
  if (!(worst <= (subject.is_exact() ? 1e-4 : 5e-2) * largest)) {
    throw Error(ErrorCode::kInternal, "wrong result: steps and prefill differ by ", worst, " of ",
                largest);
  }
  const auto session = subject.new_session();
  session->extend(prompt);
  const Times times = time_runs(flags.bench, [&] {
    session->truncate(static_cast<int64_t>(prompt.size()));
    for (const int32_t token : tokens) session->extend(std::span(&token, 1));
  });
  const double bytes = values_met(subject.config(), true) * subject.stored_bytes();
  const double rate = bytes * static_cast<double>(flags.length) / times.median;
  OrderedJson more{{"gigabytes_per_second", rate / 1e9}};
  if (subject.gpu() != nullptr) {
    const double limit = read_limit(*subject.gpu(), flags.bench);
    more["limit_gigabytes_per_second"] = limit / 1e9;
    more["of_limit"] = rate / limit;
  }
  report(flags, "decode", subject, flags.length, times, more);
}

void add_subject(CLI::App& command, Flags& flags) {
  flags.model.add_to(command);
  add_flag(command, "--shape", flags.shape,
           "Random bf16 weights for this config.json, in place of a model");
}

}  // namespace

void add_bench_model(CLI::App& bench) {
  auto encode_flags = std::make_shared<Flags>();
  CLI::App& encode_command =
      *bench.add_subcommand("encode", "Documents through the model, tokens per second");
  add_subject(encode_command, *encode_flags);
  add_flag(encode_command, "--batch", encode_flags->batch, "Documents")->check(CLI::Range(1, 4096));
  add_flag(encode_command, "--length", encode_flags->length, "Tokens of each")
      ->check(CLI::Range(1, 65'536));
  encode_flags->bench.add_to(encode_command);
  encode_command.footer("Example: msa bench encode --batch 8 --length 512 --precision f32");
  encode_command.callback([encode_flags] { encode(*encode_flags); });

  auto decode_flags = std::make_shared<Flags>();
  decode_flags->length = 128;
  CLI::App& decode_command = *bench.add_subcommand("decode", "Tokens per second, one by one");
  add_subject(decode_command, *decode_flags);
  add_flag(decode_command, "--length", decode_flags->length, "Tokens")
      ->check(CLI::Range(1, 65'536));
  decode_flags->bench.add_to(decode_command);
  decode_command.footer("Example: msa bench decode --length 128");
  decode_command.callback([decode_flags] { decode(*decode_flags); });
}

}  // namespace msa::cli
