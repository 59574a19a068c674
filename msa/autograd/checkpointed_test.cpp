#include "msa/autograd/checkpointed.h"

#include <ATen/ops/equal.h>

#include <optional>

#include "msa/autograd/linear.h"
#include "msa/autograd/swiglu.h"
#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

/// {swiglu(x w) v, the sum of swiglu(x w)}.
Tensors mlp(const Tensors& in, Purpose purpose = Purpose::kValues) {
  const auto type = in[0].scalar_type();
  const auto wide = swiglu(linear(in[0], product_weight({in[1]}, type)));
  return {linear(wide, product_weight({in[2]}, type), purpose), wide.sum()};
}

Tensors mlp_inputs() {
  return {random_tensor({6, 8}, 1), random_tensor({10, 8}, 2), random_tensor({8, 5}, 3)};
}

TEST(Checkpointed, GradientsEqualDifferences) {
  expect_gradients([](const Tensors& in) { return checkpointed(mlp, in)[0]; }, mlp_inputs());
  expect_gradients(
      [](const Tensors& in) {
        const auto out = checkpointed(mlp, in);
        return out[0].sum() * out[1];
      },
      mlp_inputs());
}

TEST(Checkpointed, ResultsAndGradientsAreThoseOfThePlainFunctionBitForBit) {
  const auto chain = [](bool is_checkpointed, const Tensors& in) {
    auto x = in[0];
    for (int i = 0; i < 3; ++i) {
      const Tensors inputs{x, in[1], in[2]};
      x = x + (is_checkpointed ? checkpointed(mlp, inputs) : mlp(inputs))[0];
    }
    return x;
  };
  Tensors inputs;
  for (const auto& input : mlp_inputs()) inputs.push_back(input.to(at::kFloat));
  const auto plain = differentiate([&](const Tensors& in) { return chain(false, in); }, inputs, 9);
  const auto again = differentiate([&](const Tensors& in) { return chain(true, in); }, inputs, 9);
  EXPECT_TRUE(at::equal(plain.result, again.result));
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_TRUE(at::equal(plain.gradients[i], again.gradients[i])) << "input " << i;
  }
}

TEST(Checkpointed, TheFunctionRunsOnceForTheResultAndOnceForTheGradients) {
  int num_calls = 0;
  const auto x = random_tensor({3}, 4).requires_grad_();
  const auto out = checkpointed(
      [&](const Tensors& in, Purpose purpose) {
        EXPECT_EQ(purpose, num_calls == 0 ? Purpose::kValues : Purpose::kGradients);
        ++num_calls;
        return Tensors{in[0].exp()};
      },
      {x});
  EXPECT_EQ(num_calls, 1);
  out[0].sum().backward();
  EXPECT_EQ(num_calls, 2);
  EXPECT_TRUE(at::equal(x.grad(), out[0].detach()));
}

TEST(Checkpointed, WhatTheFunctionMakesOnItsWayIsNotKept) {
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> inner;
  const auto x = random_tensor({5}, 5).requires_grad_();
  const auto run = [&](bool is_checkpointed) {
    const TensorFunction function = [&](const Tensors& in, Purpose) {
      const auto middle = in[0].exp();  // which its own gradient needs
      inner = middle.storage().getWeakStorageImpl();
      return Tensors{middle * 2};
    };
    return is_checkpointed ? checkpointed(function, {x}) : function({x}, Purpose::kValues);
  };
  const auto kept = run(false);
  EXPECT_FALSE(inner->expired());
  const auto dropped = run(true);
  EXPECT_TRUE(inner->expired());
}

TEST(Checkpointed, GradientsGoWhereTheyWouldGo) {
  // Without gradient: in[1], the second output, and whatever is undefined.
  const TensorFunction function = [](const Tensors& in, Purpose) {
    EXPECT_FALSE(in[2].defined());
    return Tensors{in[0] * in[1], in[1] * 2, at::Tensor(), in[3].sum()};
  };
  const auto a = random_tensor({4}, 6).requires_grad_();
  const auto b = random_tensor({4}, 7);
  const auto c = random_tensor({4}, 8).requires_grad_();
  const auto out = checkpointed(function, {a, b, at::Tensor(), c});
  ASSERT_EQ(out.size(), 4);
  EXPECT_TRUE(out[0].requires_grad());
  EXPECT_FALSE(out[1].requires_grad());
  EXPECT_FALSE(out[2].defined());
  out[0].sum().backward();  // the last output is not asked for
  EXPECT_TRUE(at::equal(a.grad(), b));
  EXPECT_FALSE(c.grad().defined());
}

TEST(Checkpointed, AnOutputThatIsAnInputAddsItsGradient) {
  const auto x = random_tensor({4}, 9).requires_grad_();
  const auto out = checkpointed(
      [](const Tensors& in, Purpose) {
        return Tensors{in[0], in[0].exp()};
      },
      {x});
  (out[0] * 3 + out[1]).sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), 3 + x.detach().exp()));
}

TEST(Checkpointed, WithoutGradientsItIsThePlainFunction) {
  const c10::NoGradGuard no_gradients;
  const auto out = checkpointed(mlp, mlp_inputs());
  EXPECT_TRUE(at::equal(out[0], mlp(mlp_inputs())[0]));
  EXPECT_FALSE(out[0].requires_grad());
}

}  // namespace
}  // namespace msa::autograd
