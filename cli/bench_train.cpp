// msa bench train: a step of training, forward and backward, on random weights and tokens.

#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>

#include <cmath>
#include <cstdio>
#include <string>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/parameter_shapes.h"
#include "msa/samples/random_batch.h"
#include "msa/train/compute_device.h"
#include "msa/train/forward.h"
#include "msa/train/parameters.h"
#include "msa/train/step_flops.h"
#include "msa/train/tensor_memory.h"

namespace msa::cli {
namespace {

constexpr int64_t kPositions = 4096;

struct Flags {
  BenchFlags bench;
  std::string shape;
  std::string device = "auto";
  std::string recompute = "none";
  int threads = 0;
  int64_t tokens = 163'840;
  int64_t memory_tokens = 0;
  int64_t document_tokens = 240;
  int64_t questions = 1953;
  int64_t readings = 96;
  int64_t negatives = 96;
};

/// A model, a batch, and the gradients of one over the other.
class TrainedStep {
 public:
  explicit TrainedStep(const Flags& flags)
      : device_(train::open_compute_device(flags.device)),
        config_(model::parse_config(
            parse_json(read_file(real_file_system(), flags.shape, 1 << 20), flags.shape),
            flags.shape)),
        batch_(batch_of(flags, config_.vocab_size)),
        parameters_(train::Parameters::random(config_, 1)),
        math_(config_, kPositions, device_) {
    MSA_CHECK(batch_.sequences.longest() < kPositions && batch_.documents.longest() < kPositions,
              "--document-tokens makes documents longer than ", kPositions, " tokens");
    if (!device_.is_cpu()) parameters_.move_to(device_);
    options_.type = device_.is_cpu() ? at::kFloat : at::kBFloat16;
    options_.weights = {.term = {1, 1, 0, 1}, .auxiliary = batch_.num_asking > 0 ? 1.0 : 0.0};
    options_.totals.add(batch_);
    options_.routing.top_k = config_.msa.top_k;
    options_.routing.num_negatives = flags.negatives;
    options_.routing.loss.temperature = parameters_.find("temperature");
    options_.recomputes_layers = flags.recompute == "layers";
    input_ = train::step_input(batch_, config_.msa.chunk_tokens, options_.weights, options_.totals,
                               device_);
  }

  at::Device device() const { return device_; }
  const samples::Batch& batch() const { return batch_; }
  const train::Parameters& parameters() const { return parameters_; }

  double flops() const {
    return train::step_flops(config_, batch_,
                             {.weights = options_.weights, .top_k = options_.routing.top_k})
        .total();
  }

  /// Returns the loss; waits for the device.
  at::Tensor run() {
    for (const train::NamedTensor& parameter : parameters_.all()) {
      parameter.tensor.mutable_grad() = at::Tensor();
    }
    const train::ModelTensors tensors = train::gather_tensors(
        config_, [&](const std::string& name) { return parameters_.find(name); }, options_.type);
    const train::StepLosses losses = train::forward(math_, tensors, input_, options_);
    losses.loss.backward();
    train::wait_for(device_);
    return losses.loss.detach();
  }

  /// Throws Error(kInternal) unless the loss and all gradients are finite, and there are gradients.
  double check(const at::Tensor& loss) const {
    const auto value = loss.item<double>();
    if (!std::isfinite(value))
      throw Error(ErrorCode::kInternal, "wrong result: the loss is ", value);
    for (const train::NamedTensor& parameter : parameters_.all()) {
      const at::Tensor& gradient = parameter.tensor.grad();
      // Routers learn nothing where nobody is asked, and none of the lower half does.
      if (!gradient.defined() && model::is_router_parameter(parameter.name)) continue;
      if (!gradient.defined() || !at::isfinite(gradient).all().item<bool>()) {
        throw Error(ErrorCode::kInternal, "wrong result: the gradient of ", parameter.name,
                    gradient.defined() ? " is not finite" : " is missing");
      }
    }
    return value;
  }

 private:
  static samples::Batch batch_of(const Flags& flags, int64_t vocab_size) {
    const bool asks = flags.memory_tokens > 0;
    return samples::random_batch({.seed = 1,
                                  .vocab_size = vocab_size,
                                  .memory_tokens = flags.memory_tokens,
                                  .document_tokens = flags.document_tokens,
                                  .num_naming = asks ? flags.questions : 0,
                                  .num_reading = asks ? flags.readings : 0,
                                  .sequence_tokens = flags.tokens});
  }

  at::Device device_;
  model::ModelConfig config_;
  samples::Batch batch_;
  train::Parameters parameters_;
  train::LayerMath math_;
  train::ForwardOptions options_;
  train::StepInput input_;
};

void run(const Flags& flags) {
  if (flags.threads > 0) set_num_threads(flags.threads);
  const train::TensorMemory memory(train::open_compute_device(flags.device));
  TrainedStep step(flags);
  const double loss = step.check(step.run());
  const Times times = time_runs(flags.bench, [&] { step.run(); });
  const double flops = step.flops() / times.median;
  const std::string name = train::name_of(step.device());
  const double peak = train::peak_flops(name);
  const int64_t documents = step.batch().documents.num_tokens();
  const int64_t tokens = documents + step.batch().sequences.num_tokens();
  const auto rate = [&](double seconds) { return static_cast<double>(tokens) / seconds; };
  const std::string place = !step.device().is_cpu() ? (name.empty() ? "gpu" : name)
                                                    : std::to_string(num_threads()) + " threads";
  const char* type = step.device().is_cpu() ? "f32" : "bf16";
  if (flags.bench.is_json) {
    OrderedJson json{{"stage", "train"},
                     {"type", type},
                     {"on", place},
                     {"parameters", step.parameters().num_values()},
                     {"recompute", flags.recompute},
                     {"tokens", tokens},
                     {"memory_tokens", documents},
                     {"questions", step.batch().num_asking},
                     {"loss", loss},
                     {"median_ms", 1e3 * times.median},
                     {"best_ms", 1e3 * times.best},
                     {"worst_ms", 1e3 * times.worst},
                     {"tokens_per_second", std::round(rate(times.median))},
                     {"model_teraflops", step.flops() / 1e12},
                     {"teraflops_per_second", flops / 1e12}};
    if (peak > 0) json["of_peak"] = flops / peak;
    json["peak_bytes"] = memory.peak_bytes();
    print_json(json);
    return;
  }
  std::printf("train %s, %s: %.1f ms a step, %.1f best, %.1f worst; %.0f tokens/s; %.3g TFLOP/s",
              type, place.c_str(), 1e3 * times.median, 1e3 * times.best, 1e3 * times.worst,
              rate(times.median), flops / 1e12);
  if (peak > 0) std::printf(", %.1f %% of the peak", 100 * flops / peak);
  std::printf("; at most %.2f GB of tensors; loss %.4f\n",
              static_cast<double>(memory.peak_bytes()) / 1e9, loss);
}

}  // namespace

void add_bench_train(CLI::App& bench) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *bench.add_subcommand("train", "A step of training: forward and backward, no optimizer");
  add_flag(command, "--shape", flags->shape, "Random weights for this config.json")->required();
  add_flag(command, "--device", flags->device, "auto, cpu or gpu")
      ->check(CLI::IsMember({"auto", "cpu", "gpu"}));
  add_flag(command, "--threads", flags->threads, "Threads of the CPU; 0: one a core")
      ->check(CLI::Range(0, 1024));
  add_flag(command, "--recompute", flags->recompute, "Activations made again in the backward pass")
      ->check(CLI::IsMember({"none", "layers"}));
  add_flag(command, "--tokens", flags->tokens, "Of all sequences")->check(CLI::Range(2, 1 << 24));
  add_flag(command, "--memory-tokens", flags->memory_tokens,
           "Of all documents; 0: language modelling, nobody is asked")
      ->check(CLI::Range(0, 1 << 24));
  add_flag(command, "--document-tokens", flags->document_tokens, "Of a document, mean")
      ->check(CLI::Range(1, 2048));
  add_flag(command, "--questions", flags->questions, "That name their document, 56 tokens each")
      ->check(CLI::Range(0, 1 << 20));
  add_flag(command, "--readings", flags->readings, "Questions that read a text, 400 tokens each")
      ->check(CLI::Range(0, 1 << 20));
  add_flag(command, "--negatives", flags->negatives,
           "Documents beside the gold one that a question's loss is over; 0: all")
      ->check(CLI::Range(0, 1 << 20));
  flags->bench.add_to(command);
  command.footer(
      "Example: msa bench train --shape configs/smoke_model.json --tokens 4096 --memory-tokens "
      "8192 "
      "--questions 50 --readings 2");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
