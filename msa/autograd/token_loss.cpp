#include "msa/autograd/token_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/wide_type.h"
#include "msa/kernels/cross_entropy.h"
#include "msa/ops/rows.h"

namespace msa::autograd {
namespace {

// Logits of one block: what a CPU's caches hold, what fills a GPU. Kernels take the larger blocks,
// each of which reads and writes the whole gradient of the head: their logits have no float32
// twins.
constexpr int64_t kLogitsCpu = int64_t{1} << 20;
constexpr int64_t kLogitsGpu = int64_t{1} << 27;
constexpr int64_t kLogitsKernels = int64_t{1} << 29;
constexpr int64_t kRowBlock = 8;

/// Cross entropies of the rows of logits [rows, V], float32 or more, for the kernels bfloat16, into
/// `losses`; with `is_learning` the logits become their gradient,
/// weight * (probability - [is the target]).
void slopes_of_logits(at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight,
                      bool is_learning, at::Tensor& losses) {
  if (logits.is_cpu() && logits.scalar_type() == at::kFloat) {
    const kernels::CrossEntropyRows rows{
        .logits = logits.data_ptr<float>(),
        .target = target.const_data_ptr<int64_t>(),
        .weight = is_learning ? weight.const_data_ptr<float>() : nullptr,
        .loss = losses.data_ptr<float>(),
        .vocab_size = logits.size(1)};
    ops::for_row_blocks(logits.size(0), kRowBlock, [&](int64_t first, int64_t end) {
      kernels::cross_entropy(rows, first, end);
    });
    return;
  }
  if (logits.scalar_type() == at::kBFloat16) {
    opened_kernels().token_loss({.logits = numbers_of(logits),
                                 .target = target.const_data_ptr<int64_t>(),
                                 .weight = is_learning ? weight.const_data_ptr<float>() : nullptr,
                                 .loss = losses.data_ptr<float>(),
                                 .num_tokens = logits.size(0),
                                 .vocab_size = logits.size(1)},
                                nullptr);
    return;
  }
  const auto place = target.unsqueeze(1);
  auto terms = at::log_softmax(logits, -1);
  losses.copy_(terms.gather(1, place).squeeze(1)).neg_();
  if (!is_learning) return;
  terms.exp_().scatter_add_(1, place, at::full(place.sizes(), -1, terms.options()));
  logits = terms.mul_(weight.unsqueeze(1));
}

struct TokenLossRule : torch::autograd::Function<TokenLossRule> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                const at::Tensor& hidden,
                                                const at::Tensor& head_weight,
                                                const at::Tensor& targets,
                                                const at::Tensor& weights, bool is_learning) {
    const auto type = wide_type(hidden);
    const int64_t num_tokens = hidden.size(0);
    const int64_t vocab_size = head_weight.size(0);
    const bool has_kernels =
        vocab_size % 8 == 0 && vocab_size > 0 && device_kernels({hidden}) != nullptr;
    const int64_t most_logits = hidden.is_cpu() ? kLogitsCpu
                                : has_kernels   ? kLogitsKernels
                                                : kLogitsGpu;
    int64_t block = std::max<int64_t>(1, most_logits / std::max<int64_t>(1, vocab_size));
    if (has_kernels) block = (block + 3) / 4 * 4;  // what a block reads of [n] is aligned
    const auto head = head_weight.to(hidden.scalar_type());
    const auto wide_weights = array_of(weights.to(type));
    auto each = at::empty({num_tokens}, hidden.options().dtype(type));
    at::Tensor hidden_gradient;
    at::Tensor head_gradient;
    if (is_learning) {
      hidden_gradient = at::empty(hidden.sizes(), hidden.options());
      if (num_tokens == 0) head_gradient = at::zeros(head_weight.sizes(), head_weight.options());
    }
    for (int64_t first = 0; first < num_tokens; first += block) {
      const int64_t count = std::min(block, num_tokens - first);
      const auto rows = hidden.narrow(0, first, count);
      const auto target = targets.narrow(0, first, count);
      auto logits = row_product(rows, head);
      if (!has_kernels) logits = logits.to(type);
      auto losses = each.narrow(0, first, count);
      slopes_of_logits(logits, target, wide_weights.narrow(0, first, count), is_learning, losses);
      if (!is_learning) continue;
      const auto gradient = logits.to(hidden.scalar_type());
      hidden_gradient.narrow(0, first, count).copy_(row_product(gradient, head.t()));
      const auto more = weight_gradient(gradient, rows, head_weight.scalar_type());
      head_gradient = head_gradient.defined() ? head_gradient.add_(more) : more;
    }
    if (is_learning) context->save_for_backward({hidden_gradient, head_gradient});
    auto each_float = each.to(at::kFloat);
    context->mark_non_differentiable({each_float});
    return {each.dot(wide_weights), each_float};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {saved[0] * gradients[0], saved[1] * gradients[0], at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

TokenLoss token_loss(const at::Tensor& hidden, const at::Tensor& head_weight,
                     const at::Tensor& targets, const at::Tensor& weights) {
  expect_values("token_loss", {hidden, head_weight, weights});
  MSA_CHECK(hidden.dim() == 2 && head_weight.dim() == 2 && hidden.size(1) == head_weight.size(1),
            "token_loss: hidden must be [n, E] and head_weight [V, E] with one E, got ",
            hidden.sizes(), " and ", head_weight.sizes());
  MSA_CHECK(targets.scalar_type() == at::kLong && targets.dim() == 1 && weights.dim() == 1 &&
                targets.size(0) == hidden.size(0) && weights.size(0) == hidden.size(0),
            "token_loss: targets must be int64 and weights float32, both [", hidden.size(0),
            "], got ", targets.scalar_type(), " ", targets.sizes(), " and ", weights.sizes());
  if (targets.is_cpu() && targets.numel() > 0) {
    const auto [lowest, highest] = at::aminmax(targets);
    MSA_CHECK(lowest.item<int64_t>() >= 0 && highest.item<int64_t>() < head_weight.size(0),
              "token_loss: targets must be in [0, ", head_weight.size(0), "), got ",
              lowest.item<int64_t>(), " to ", highest.item<int64_t>());
  }
  const bool is_learning =
      at::GradMode::is_enabled() && (hidden.requires_grad() || head_weight.requires_grad());
  const auto results =
      TokenLossRule::apply(hidden, head_weight, array_of(targets), weights, is_learning);
  return {.loss = results[0], .each = results[1]};
}

}  // namespace msa::autograd
