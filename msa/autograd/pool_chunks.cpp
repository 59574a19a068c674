#include "msa/autograd/pool_chunks.h"

#include <ATen/Dispatch.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/wide_type.h"
#include "msa/base/threads.h"

namespace msa::autograd {
namespace {

template <typename Number>
void sum_chunks(const Number* x, const int32_t* offsets, int64_t num_chunks, int64_t width,
                Number* sum) {
  parallel_for(num_chunks, [&](int64_t c) {
    Number* out = sum + c * width;
    for (int64_t row = offsets[c]; row < offsets[c + 1]; ++row) {
      for (int64_t f = 0; f < width; ++f) out[f] += x[row * width + f];
    }
  });
}

/// [C, 1]: one over the rows of each chunk, 1 for those without.
at::Tensor shares(const at::Tensor& offsets, at::ScalarType type) {
  return offsets.diff().clamp_min(1).to(type).reciprocal_().unsqueeze(1);
}

struct PoolChunks : torch::autograd::Function<PoolChunks> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& offsets) {
    context->save_for_backward({offsets});
    context->saved_data["num_rows"] = x.size(0);
    const auto type = wide_type(x);
    const auto wide = x.to(type).contiguous();
    const int64_t num_chunks = offsets.numel() - 1;
    at::Tensor sum;
    if (x.is_cpu() || num_chunks == 0) {
      sum = at::zeros({num_chunks, x.size(1)}, wide.options());
      AT_DISPATCH_FLOATING_TYPES(type, "pool_chunks", [&] {
        sum_chunks(wide.const_data_ptr<scalar_t>(), offsets.const_data_ptr<int32_t>(), num_chunks,
                   x.size(1), sum.data_ptr<scalar_t>());
      });
    } else {
      sum = at::segment_reduce(wide, "sum", {}, {}, offsets, 0, /*unsafe=*/true, 0);
    }
    return sum.mul_(shares(offsets, type)).to(x.scalar_type());
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto offsets = context->get_saved_variables()[0];
    const int64_t num_rows = context->saved_data["num_rows"].toInt();
    const auto type = wide_type(gradients[0]);
    const auto share =
        (gradients[0].to(type) * shares(offsets, type)).to(gradients[0].scalar_type());
    const auto rows = at::arange(num_rows, offsets.options());
    const auto chunk = at::searchsorted(offsets.slice(0, 1), rows, /*out_int32=*/true,
                                        /*right=*/true);
    return {share.index_select(0, chunk), at::Tensor()};
  }
};

/// By the kernels; x may be columns of a larger tensor.
struct DevicePoolChunks : torch::autograd::Function<DevicePoolChunks> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& offsets) {
    context->save_for_backward({offsets});
    context->saved_data["num_rows"] = x.size(0);
    auto pooled = at::empty({offsets.numel() - 1, x.size(1)}, x.options());
    opened_kernels().pool_rows(
        {.plane = {{.x = numbers_of(x), .x_stride = x.stride(0), .pooled = numbers_of(pooled)}},
         .num_planes = 1,
         .chunk_offsets = offsets.const_data_ptr<int32_t>(),
         .num_chunks = pooled.size(0),
         .width = x.size(1)},
        nullptr);
    return pooled;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto offsets = context->get_saved_variables()[0];
    const auto gradient = array_of(gradients[0]);
    const auto x_gradient =
        at::empty({context->saved_data["num_rows"].toInt(), gradient.size(1)}, gradient.options());
    opened_kernels().pool_rows_gradient({.plane = {{.pooled_gradient = numbers_of(gradient),
                                                    .x_gradient = numbers_of(x_gradient),
                                                    .x_stride = gradient.size(1)}},
                                         .num_planes = 1,
                                         .chunk_offsets = offsets.const_data_ptr<int32_t>(),
                                         .num_chunks = gradient.size(0),
                                         .width = gradient.size(1)},
                                        nullptr);
    return {x_gradient, at::Tensor()};
  }
};

bool has_kernels(const at::Tensor& x) {
  return x.size(1) % 8 == 0 && x.size(1) > 0 && x.stride(1) == 1 && x.stride(0) % 8 == 0 &&
         device_kernels({x}) != nullptr;
}

}  // namespace

at::Tensor pool_chunks(const at::Tensor& x, const at::Tensor& chunk_offsets) {
  expect_values("pool_chunks", {x});
  MSA_CHECK(x.dim() == 2 && chunk_offsets.device() == x.device(),
            "pool_chunks: x must be [N, F] with offsets beside it, got ", x.sizes());
  expect_offsets("pool_chunks", chunk_offsets, x.size(0));
  if (has_kernels(x)) return DevicePoolChunks::apply(x, array_of(chunk_offsets));
  return PoolChunks::apply(x, chunk_offsets);
}

}  // namespace msa::autograd
