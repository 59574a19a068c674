#include "msa/autograd/linear.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <utility>

#include "msa/autograd/wide_type.h"
#include "msa/ops/linear.h"

namespace msa::autograd {
namespace {

struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& values, bool has_value, at::TensorList learned) {
    torch::autograd::variable_list kept{x, values};
    kept.insert(kept.end(), learned.begin(), learned.end());
    context->save_for_backward(std::move(kept));
    if (has_value) return row_product(x, values);
    return at::full({1, 1}, std::numeric_limits<double>::quiet_NaN(), x.options())
        .expand({x.size(0), values.size(0)});
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    torch::autograd::variable_list results(saved.size() + 1);  // of has_value too
    if (context->needs_input_grad(0)) results[0] = row_product(gradients[0], saved[1].t());
    at::Tensor joint;
    int64_t row = 0;
    for (size_t i = 2; i < saved.size(); ++i) {
      const int64_t num_rows = saved[i].size(0);
      if (context->needs_input_grad(i)) {
        if (!joint.defined()) joint = weight_gradient(gradients[0], x, saved[i].scalar_type());
        results[i + 1] = joint.narrow(0, row, num_rows);
      }
      row += num_rows;
    }
    return results;
  }
};

}  // namespace

ProductWeight ProductWeight::without_first() const {
  return {.learned = {learned.begin() + 1, learned.end()},
          .values = values.slice(0, learned[0].size(0))};
}

ProductWeight product_weight(std::vector<at::Tensor> learned, at::ScalarType type) {
  MSA_CHECK(!learned.empty(), "product_weight: there must be a matrix");
  int64_t num_rows = 0;
  for (const at::Tensor& matrix : learned) {
    expect_values("product_weight", {learned[0], matrix});
    MSA_CHECK(matrix.dim() == 2 && learned[0].dim() == 2 && matrix.size(1) == learned[0].size(1) &&
                  matrix.scalar_type() == learned[0].scalar_type(),
              "product_weight: matrices must be [N, K] with one K and of one type, got ",
              learned[0].scalar_type(), " ", learned[0].sizes(), " and ", matrix.scalar_type(), " ",
              matrix.sizes());
    num_rows += matrix.size(0);
  }
  ProductWeight out;
  if (learned.size() == 1) {
    out.values = learned[0].detach().to(type);
  } else {
    out.values = at::empty({num_rows, learned[0].size(1)}, learned[0].options().dtype(type));
    int64_t row = 0;
    for (const at::Tensor& matrix : learned) {
      out.values.narrow(0, row, matrix.size(0)).copy_(matrix.detach());
      row += matrix.size(0);
    }
  }
  out.learned = std::move(learned);
  return out;
}

at::Tensor linear(const at::Tensor& x, const ProductWeight& weight, Purpose purpose) {
  const at::Tensor& values = weight.values;
  expect_values("linear", {x, values});
  MSA_CHECK(x.dim() == 2 && values.dim() == 2 && x.size(1) == values.size(1) &&
                x.scalar_type() == values.scalar_type(),
            "linear: x must be [T, K] and the weight's values [N, K] with one K and of one type, "
            "got ",
            x.scalar_type(), " ", x.sizes(), " and ", values.scalar_type(), " ", values.sizes());
  return Linear::apply(x, values, purpose == Purpose::kValues, at::TensorList(weight.learned));
}

at::Tensor row_product(const at::Tensor& a, const at::Tensor& b) {
  // Twice as fast on some processors, but only of these.
  if (a.is_cpu() && a.scalar_type() == at::kFloat) return ops::linear(a, b);
  return at::linear(a, b);
}

at::Tensor weight_gradient(const at::Tensor& gradient, const at::Tensor& x, at::ScalarType type) {
  const auto wide = wide_type(x);
  // Products of rounded values, sums that are not: only GPUs have it in one.
  if (x.is_cuda() && x.scalar_type() != wide) return at::mm(gradient.t(), x, wide).to(type);
  const auto columns = gradient.to(wide).t();
  const auto x_columns = x.to(wide).t();
  if (columns.size(0) <= x_columns.size(0)) return row_product(columns, x_columns).to(type);
  // A CPU copies the first factor to lay it out by rows: let it be the smaller one.
  return row_product(x_columns, columns).t().to(type).contiguous();
}

}  // namespace msa::autograd
