#include "msa/autograd/gather_rows.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/repeatable.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"

namespace msa::autograd {
namespace {

constexpr int64_t kRowBlock = 64;

/// sum[n] = sum of gradient[m] over the m that read row n, in rising order.
template <typename Number>
void add_rows(const Number* gradient, const RowsToGather& rows, int64_t num_sums, int64_t width,
              Number* sum) {
  const int64_t* order = rows.order.const_data_ptr<int64_t>();
  const int32_t* offsets = rows.offsets.const_data_ptr<int32_t>();
  parallel_for((num_sums + kRowBlock - 1) / kRowBlock, [&](int64_t block) {
    const int64_t last = std::min(num_sums, (block + 1) * kRowBlock);
    for (int64_t n = block * kRowBlock; n < last; ++n) {
      Number* out = sum + n * width;
      std::fill_n(out, width, Number{0});
      for (int32_t i = offsets[n]; i < offsets[n + 1]; ++i) {
        const Number* row = gradient + order[i] * width;
        for (int64_t f = 0; f < width; ++f) out[f] += row[f];
      }
    }
  });
}

/// The rows that a forward pass has kept, with what sums of their gradients need.
RowsToGather complete_rows(const torch::autograd::variable_list& saved, int64_t num_sums) {
  if (!saved[1].defined()) return rows_to_gather(saved[0], num_sums);
  return {.rows = saved[0], .order = saved[1], .offsets = saved[2]};
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& source,
                            const RowsToGather& rows) {
    context->save_for_backward({rows.rows, rows.order, rows.offsets});
    context->saved_data["num_rows"] = source.size(0);
    return source.index_select(0, rows.rows);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto wide = wide_type(gradients[0]);
    const auto gradient = gradients[0].to(wide).contiguous();
    const int64_t num_sums = context->saved_data["num_rows"].toInt();
    at::Tensor sum;
    if (gradient.is_cpu()) {
      sum = at::empty({num_sums, gradient.size(1)}, gradient.options());
      const auto rows = complete_rows(saved, num_sums);
      AT_DISPATCH_FLOATING_TYPES(wide, "gather_rows", [&] {
        add_rows(gradient.const_data_ptr<scalar_t>(), rows, num_sums, gradient.size(1),
                 sum.data_ptr<scalar_t>());
      });
    } else {
      const RepeatableScope scope;
      sum = at::zeros({num_sums, gradient.size(1)}, gradient.options())
                .index_add_(0, saved[0], gradient);
    }
    return {sum.to(gradients[0].scalar_type()), at::Tensor()};
  }
};

/// Gradients are summed by the kernels.
struct DeviceGatherRows : torch::autograd::Function<DeviceGatherRows> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& source,
                            const RowsToGather& rows) {
    return GatherRows::forward(context, source, rows);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const int64_t num_sums = context->saved_data["num_rows"].toInt();
    const auto rows = complete_rows(context->get_saved_variables(), num_sums);
    const auto gradient = array_of(gradients[0]);
    const auto sum = at::empty({num_sums, gradient.size(1)}, gradient.options());
    opened_kernels().sum_rows({.x = numbers_of(gradient),
                               .order = rows.order.const_data_ptr<int64_t>(),
                               .offsets = rows.offsets.const_data_ptr<int32_t>(),
                               .sum = numbers_of(sum),
                               .num_sums = num_sums,
                               .width = gradient.size(1)},
                              nullptr);
    return {sum, at::Tensor()};
  }
};

/// Counts, where a sort would take longer.
void order_on_cpu(RowsToGather& rows, int64_t num_source_rows) {
  const int64_t num_rows = rows.rows.numel();
  rows.order = at::empty_like(rows.rows);
  rows.offsets = at::zeros({num_source_rows + 1}, rows.rows.options().dtype(at::kInt));
  const int64_t* row = rows.rows.const_data_ptr<int64_t>();
  int32_t* offsets = rows.offsets.data_ptr<int32_t>();
  for (int64_t m = 0; m < num_rows; ++m) {
    MSA_CHECK(row[m] >= 0 && row[m] < num_source_rows, "gather_rows: rows must be in [0, ",
              num_source_rows, "), got ", row[m]);
    ++offsets[row[m] + 1];
  }
  for (int64_t n = 0; n < num_source_rows; ++n) offsets[n + 1] += offsets[n];
  std::vector<int32_t> next(offsets, offsets + num_source_rows);
  int64_t* order = rows.order.data_ptr<int64_t>();
  for (int64_t m = 0; m < num_rows; ++m) order[next[row[m]]++] = m;
}

}  // namespace

RowsToGather rows_to_gather(const at::Tensor& rows, int64_t num_source_rows) {
  RowsToGather out{.rows = rows.contiguous(), .order = {}, .offsets = {}};
  if (rows.is_cpu()) {
    order_on_cpu(out, num_source_rows);
    return out;
  }
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
  MSA_CHECK(!to_gather.offsets.defined() || to_gather.offsets.numel() == source.size(0) + 1,
            "gather_rows: source has ", source.size(0), " rows, not the ",
            to_gather.offsets.numel() - 1, " that the rows were ordered for");
  if (source.size(1) % 8 == 0 && source.size(1) > 0 && device_kernels({source}) != nullptr) {
    return DeviceGatherRows::apply(source, to_gather);
  }
  return GatherRows::apply(source, to_gather);
}

}  // namespace msa::autograd
