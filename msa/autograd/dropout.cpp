#include "msa/autograd/dropout.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/native_dropout_backward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "msa/autograd/wide_type.h"

namespace msa::autograd {
namespace {

/// As many of x as the share leaves, each the larger for it.
at::Tensor thinned(const at::Tensor& x, double share, uint64_t seed) {
  auto generator = at::globalContext().defaultGenerator(x.device()).clone();
  generator.set_current_seed(seed);
  const auto stays = at::empty(x.sizes(), x.options().dtype(at::kBool))
                         .bernoulli_(1 - share, std::move(generator));
  return at::native_dropout_backward(x.contiguous(), stays, 1 / (1 - share));
}

struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            double share, int64_t seed, bool has_value) {
    context->saved_data["share"] = share;
    context->saved_data["seed"] = seed;
    if (has_value) return thinned(x, share, static_cast<uint64_t>(seed));
    return at::empty({1, 1}, x.options()).expand(x.sizes());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    return {thinned(gradients[0], context->saved_data["share"].toDouble(),
                    static_cast<uint64_t>(context->saved_data["seed"].toInt())),
            {},
            {},
            {}};
  }
};

}  // namespace

at::Tensor dropout(const at::Tensor& x, double share, uint64_t seed, Purpose purpose) {
  expect_values("dropout", {x});
  MSA_CHECK(x.dim() == 2 && share >= 0 && share < 1,
            "dropout: x must be [T, E] and the share in [0, 1), got ", x.sizes(), " and ", share);
  if (share == 0) return x;
  return Dropout::apply(x, share, static_cast<int64_t>(seed), purpose == Purpose::kValues);
}

}  // namespace msa::autograd
