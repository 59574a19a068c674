// Rules by kernels on the host equal the composed ones, and kernels are called as they allow it.

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "msa/autograd/rule_cases.h"
#include "tests/wiring/call_arrays.h"
#include "tests/wiring/host_kernels.h"

namespace msa::wiring {
namespace {

using autograd::expect_equal;
using autograd::RuleCase;

constexpr double kTolerance = 2e-2;  // of bfloat16, relative to the largest number

TEST(RuleWiring, RulesEqualTheComposedOnes) {
  std::map<std::string, int64_t> calls;
  for (const RuleCase& c : autograd::kernel_rule_cases()) {
    SCOPED_TRACE(c.name);
    const auto wanted = differentiate(c, at::kCPU, at::kDouble);
    const HostKernels kernels;
    autograd::Tensors got;
    EXPECT_NO_THROW(got = differentiate(c, at::kCPU, at::kBFloat16));
    if (!got.empty()) expect_equal(got, wanted, kTolerance);
    EXPECT_EQ(!kernel_calls().empty(), c.has_kernels);
    for (const auto& [kernel, count] : kernel_calls()) calls[kernel] += count;
  }
  std::vector<std::string> kernels;
  for (const auto& [kernel, count] : calls) kernels.push_back(kernel);
  EXPECT_THAT(kernels, testing::UnorderedElementsAre(
                           "norm_heads", "norm_heads_gradient", "norm_rows", "norm_rows_gradient",
                           "pool_rows", "pool_rows_gradient", "sum_rows", "swiglu",
                           "swiglu_gradient", "token_loss", "unit_heads", "unit_heads_gradient"));
}

/// A call that its kernel does not allow.
template <typename Call>
void expect_not_allowed(const Call& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "was accepted, not: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInternal);
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
  }
}

TEST(RuleWiring, CallsThatAKernelDoesNotAllowAreSeen) {
  const auto x = at::ones({5, 16}, at::kBFloat16);
  const auto out = at::empty({5, 16}, at::kBFloat16);
  const auto& library = autograd::opened_kernels();
  const auto call = [&](const at::Tensor& from, const at::Tensor& to, int64_t rows, int64_t dim) {
    library.unit_heads({.x = autograd::numbers_of(from),
                        .out = autograd::numbers_of(to),
                        .num_heads = rows,
                        .head_dim = dim},
                       nullptr);
  };
  call(x, out, 5, 16);
  call(x, x, 5, 16);  // may be
  expect_not_allowed([&] { call(x, out, 5, 12); }, "heads of 12");
  expect_not_allowed([&] { call(x.flatten().narrow(0, 4, 64), out, 4, 16); }, "not aligned");
  expect_not_allowed([&] { call(x, x[1], 4, 16); }, "out lies over x");
  expect_not_allowed([&] { call(x, out, 6, 16); }, "x does not have its 192 bytes");
  expect_not_allowed([&] { call(at::empty({0, 16}, at::kBFloat16), out, 5, 16); }, "x is null");
  expect_not_allowed(
      [&] {
        library.unit_heads({.num_heads = 0, .head_dim = 16}, /*stream=*/autograd::numbers_of(x));
      },
      "null stream");
  const auto weight = at::ones({16});
  const auto root = at::ones({5});
  const auto weight_gradient = at::empty({16});
  const auto room = at::empty({library.norm_rows_gradient_workspace_bytes(16) - 4}, at::kByte);
  expect_not_allowed(
      [&] {
        library.norm_rows_gradient({.x = autograd::numbers_of(x),
                                    .weight = weight.const_data_ptr<float>(),
                                    .inverse_root = root.const_data_ptr<float>(),
                                    .out_gradient = autograd::numbers_of(x),
                                    .x_gradient = autograd::numbers_of(out),
                                    .weight_gradient = weight_gradient.data_ptr<float>(),
                                    .workspace = room.data_ptr(),
                                    .num_tokens = 5,
                                    .dim = 16},
                                   nullptr);
      },
      "workspace does not have");
  // What nobody has written is no number.
  EXPECT_TRUE(at::empty({100}, at::kBFloat16).isnan().all().item<bool>());
}

}  // namespace
}  // namespace msa::wiring
