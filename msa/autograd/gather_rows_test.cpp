#include "msa/autograd/gather_rows.h"

#include "msa/autograd/test_tensors.h"

namespace msa::autograd {
namespace {

const std::vector<int64_t> kRows{3, 0, 3, 3, 9, 1, 0};

TEST(GatherRowsRule, TakesRowsInAnyOrder) {
  const auto source = random_tensor({10, 4}, 1);
  const auto a = values_of(source);
  std::vector<double> wanted;
  for (const int64_t row : kRows) {
    wanted.insert(wanted.end(), a.begin() + row * 4, a.begin() + (row + 1) * 4);
  }
  expect_near(gather_rows(source, tensor_of(kRows)), wanted, 0);
  EXPECT_EQ(gather_rows(source, tensor_of<int64_t>({})).sizes(), (at::IntArrayRef{0, 4}));
}

TEST(GatherRowsRule, GradientsEqualDifferencesAndHoldInShorterTypes) {
  for (const auto& rows : {kRows, std::vector<int64_t>{5}, std::vector<int64_t>{}}) {
    const Rule rule = [&](const Tensors& in) { return gather_rows(in[0], tensor_of(rows)); };
    expect_gradients(rule, {random_tensor({10, 4}, 2)});
    expect_short_types(rule, {random_tensor({10, 4}, 2)}, 1);
  }
}

TEST(GatherRowsRule, ManyGradientsOfOneRowAreSummedWithoutRounding) {
  const auto source = at::zeros({300, 1}, at::kBFloat16).requires_grad_();
  gather_rows(source, at::full({256 + 8}, 299, at::kLong)).sum().backward();
  EXPECT_EQ(source.grad()[299].item<double>(), 264);
  EXPECT_EQ(source.grad().sum().item<double>(), 264);
}

TEST(GatherRowsRule, ShapesThatDoNotFitAreRefused) {
  const auto source = random_tensor({10, 4}, 3);
  expect_refused([&] { gather_rows(source, tensor_of<int32_t>({1})); });
  expect_refused([&] { gather_rows(source, tensor_of(kRows).view({7, 1})); });
  expect_refused([&] { gather_rows(source.view({10, 2, 2}), tensor_of(kRows)); });
}

}  // namespace
}  // namespace msa::autograd
