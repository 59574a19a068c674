#include "msa/train/text_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "msa/base/error.h"
#include "msa/train/forward.h"

namespace msa::train {
namespace {

void add(const ScoredText& text, samples::Batch& batch) {
  const auto row = static_cast<int32_t>(batch.sequences.num_tokens());
  batch.sequences.add(text.tokens, 0);
  batch.names.emplace_back();
  for (int64_t i = text.first; i < text.end; ++i) {
    batch.targets.rows.push_back(row + static_cast<int32_t>(i) - 1);
    batch.targets.tokens.push_back(text.tokens[static_cast<size_t>(i)]);
    batch.targets.weights.push_back(1);
    batch.targets.terms.push_back(samples::LossTerm::kLanguage);
  }
}

}  // namespace

TextLoss text_loss(const LayerMath& math, const ModelTensors& tensors,
                   std::span<const ScoredText> texts, at::ScalarType type, at::Device device,
                   int64_t max_pass_tokens) {
  const c10::NoGradGuard no_gradients;
  ForwardOptions options;
  options.type = type;
  options.weights.term[static_cast<size_t>(samples::LossTerm::kLanguage)] = 1;
  TextLoss out;
  samples::Batch batch;
  const auto read = [&] {
    if (batch.targets.size() == 0) return;
    options.totals = {};
    options.totals.add(batch);
    const StepInput input =
        step_input(batch, math.config().msa.chunk_tokens, options.weights, options.totals, device);
    const double mean = forward(math, tensors, input, options).loss.item<double>();
    out.num_tokens += batch.targets.size();
    out.nats += mean * static_cast<double>(batch.targets.size());
    batch = {};
  };
  for (const ScoredText& text : texts) {
    const auto length = static_cast<int64_t>(text.tokens.size());
    MSA_CHECK(text.first >= 1 && text.end <= length, "text_loss: tokens ", text.first, " to ",
              text.end, " of a text of ", length);
    if (batch.sequences.num_tokens() + length > max_pass_tokens) read();
    add(text, batch);
  }
  read();
  return out;
}

}  // namespace msa::train
