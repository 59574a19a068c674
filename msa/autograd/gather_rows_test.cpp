#include "msa/autograd/gather_rows.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

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

TEST(GatherRowsRule, RowsThatAreSharedGiveTheSame) {
  const auto rows = rows_to_gather(tensor_of(kRows), 10);
  EXPECT_EQ(values_of(rows.order), (std::vector<double>{1, 6, 5, 0, 2, 3, 4}));
  EXPECT_EQ(values_of(rows.offsets), (std::vector<double>{0, 2, 3, 3, 6, 6, 6, 6, 6, 6, 7}));
  const auto source = random_tensor({10, 4}, 4);
  const auto apart = differentiate(
      [&](const Tensors& in) { return gather_rows(in[0], tensor_of(kRows)); }, {source}, 5);
  const auto shared =
      differentiate([&](const Tensors& in) { return gather_rows(in[0], rows); }, {source}, 5);
  EXPECT_TRUE(shared.result.equal(apart.result));
  EXPECT_TRUE(shared.gradients[0].equal(apart.gradients[0]));
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
  expect_refused([&] { rows_to_gather(tensor_of(kRows), 9); });
  expect_refused([&] { gather_rows(source, rows_to_gather(tensor_of(kRows), 11)); });
}

}  // namespace
}  // namespace msa::autograd
