#include "msa/autograd/gather_rows.h"

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/repeatable.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"

namespace msa::autograd {
namespace {

constexpr int64_t kRowBlock = 64;

/// sum[n] = sum of gradient[m] over the m with rows[m] = n, in rising order of m.
template <typename Number>
void add_rows(const Number* gradient, const int64_t* rows, int64_t num_rows, int64_t width,
              int64_t num_sums, Number* sum) {
  std::vector<int64_t> end(num_sums + 1);
  for (int64_t m = 0; m < num_rows; ++m) ++end[rows[m] + 1];
  for (int64_t n = 0; n < num_sums; ++n) end[n + 1] += end[n];
  std::vector<int64_t> order(num_rows);
  for (int64_t m = 0; m < num_rows; ++m) order[end[rows[m]]++] = m;
  parallel_for((num_sums + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
    const int64_t last = std::min(num_sums, (block + 1) * kRowBlock);
    for (int64_t n = block * kRowBlock; n < last; ++n) {
      Number* out = sum + n * width;
      std::fill_n(out, width, Number{0});
      for (int64_t i = n == 0 ? 0 : end[n - 1]; i < end[n]; ++i) {
        const Number* row = gradient + order[i] * width;
        for (int64_t f = 0; f < width; ++f) out[f] += row[f];
      }
    }
  });
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& source,
                            const at::Tensor& rows) {
    context->save_for_backward({rows});
    context->saved_data["num_rows"] = source.size(0);
    return source.index_select(0, rows);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto rows = context->get_saved_variables()[0];
    const auto wide = wide_type(gradients[0]);
    const auto gradient = gradients[0].to(wide).contiguous();
    const int64_t num_sums = context->saved_data["num_rows"].toInt();
    at::Tensor sum;
    if (gradient.is_cpu()) {
      sum = at::empty({num_sums, gradient.size(1)}, gradient.options());
      AT_DISPATCH_FLOATING_TYPES(wide, "gather_rows", [&] {
        add_rows(gradient.const_data_ptr<scalar_t>(), rows.const_data_ptr<int64_t>(), rows.numel(),
                 gradient.size(1), num_sums, sum.data_ptr<scalar_t>());
      });
    } else {
      sum =
          at::zeros({num_sums, gradient.size(1)}, gradient.options()).index_add_(0, rows, gradient);
    }
    return {sum.to(gradients[0].scalar_type()), at::Tensor()};
  }
};

/// Gradients are summed by the kernels.
struct DeviceGatherRows : torch::autograd::Function<DeviceGatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& source,
                            const at::Tensor& rows, const at::Tensor& order,
                            const at::Tensor& offsets) {
    context->save_for_backward({rows, order, offsets});
    context->saved_data["num_rows"] = source.size(0);
    return source.index_select(0, rows);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    RowsToGather rows{.rows = saved[0], .order = saved[1], .offsets = saved[2]};
    const int64_t num_sums = context->saved_data["num_rows"].toInt();
    if (!rows.order.defined()) rows = rows_to_gather(rows.rows, num_sums);
    const auto gradient = gradients[0].contiguous();
    const auto sum = at::empty({num_sums, gradient.size(1)}, gradient.options());
    opened_kernels().sum_rows({.x = numbers_of(gradient),
                               .order = rows.order.const_data_ptr<int64_t>(),
                               .offsets = rows.offsets.const_data_ptr<int32_t>(),
                               .sum = numbers_of(sum),
                               .num_sums = num_sums,
                               .width = gradient.size(1)},
                              nullptr);
    return {sum, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

RowsToGather rows_to_gather(const at::Tensor& rows, int64_t num_source_rows) {
  RowsToGather out{.rows = rows.contiguous(), .order = {}, .offsets = {}};
  if (rows.is_cpu()) return out;
  const auto [sorted, order] = rows.to(at::kInt).sort(/*stable=*/true, 0, /*descending=*/false);
  out.order = order;
  out.offsets = at::searchsorted(sorted, at::arange(num_source_rows + 1, sorted.options()),
                                 /*out_int32=*/true);
  return out;
}

at::Tensor gather_rows(const at::Tensor& source, const at::Tensor& rows) {
  return gather_rows(source, RowsToGather{.rows = rows.contiguous(), .order = {}, .offsets = {}});
}

at::Tensor gather_rows(const at::Tensor& source, const RowsToGather& to_gather) {
  const at::Tensor& rows = to_gather.rows;
  expect_values("gather_rows", {source});
  MSA_CHECK(source.dim() == 2 && rows.dim() == 1 && rows.scalar_type() == at::kLong &&
                rows.device() == source.device(),
            "gather_rows: source must be [N, F] and rows int64 [M] beside it, got ", source.sizes(),
            " and ", rows.scalar_type(), " ", rows.sizes());
  if (source.size(1) % 8 == 0 && source.size(1) > 0 && device_kernels({source}) != nullptr) {
    return DeviceGatherRows::apply(source, rows, to_gather.order, to_gather.offsets);
  }
  return GatherRows::apply(source, rows);
}

}  // namespace msa::autograd
