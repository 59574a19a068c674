#include "msa/train/muon.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace msa::train {
namespace {

constexpr int kSteps = 5;
constexpr double kFirst = 3.4445;
constexpr double kThird = -4.7750;
constexpr double kFifth = 2.0315;

/// Elements of one group at most: its copies beside the momentum stay small against the model.
constexpr int64_t kMaxGroupElements = int64_t{1} << 26;

}  // namespace

at::Tensor orthogonalized(const at::Tensor& matrices) {
  const bool is_tall = matrices.size(1) > matrices.size(2);
  at::Tensor x = is_tall ? matrices.transpose(1, 2) : matrices;
  const at::Tensor length = at::linalg_vector_norm(x, 2, at::IntArrayRef({1, 2}), true, at::kFloat);
  x = x / (length + 1e-7).to(x.scalar_type());
  for (int i = 0; i < kSteps; ++i) {
    const at::Tensor square = at::bmm(x, x.transpose(1, 2));
    const at::Tensor even = at::baddbmm(square, square, square, kThird, kFifth);
    x = at::baddbmm(x, even, x, kFirst, 1);
  }
  return is_tall ? x.transpose(1, 2) : x;
}

Muon::Muon(const std::vector<NamedTensor>& matrices, const MuonOptions& options)
    : options_(options) {
  for (const NamedTensor& matrix : matrices) {
    const int64_t most = std::max<int64_t>(kMaxGroupElements / matrix.tensor.numel(), 1);
    const auto fits = [&](const Group& group) {
      return group.weights[0].tensor.sizes() == matrix.tensor.sizes() &&
             static_cast<int64_t>(group.weights.size()) < most;
    };
    const auto found = std::find_if(groups_.begin(), groups_.end(), fits);
    Group& group = found == groups_.end() ? groups_.emplace_back() : *found;
    group.weights.push_back(matrix);
  }
  for (Group& group : groups_) {
    const at::Tensor& first = group.weights[0].tensor;
    group.momentum =
        at::zeros({static_cast<int64_t>(group.weights.size()), first.size(0), first.size(1)},
                  first.options().requires_grad(false));
  }
}

void Muon::step(double rate, const at::Tensor& scale, const at::Tensor& is_taken) {
  for (Group& group : groups_) step_group(group, rate, scale, is_taken);
}

void Muon::step_group(Group& group, double rate, const at::Tensor& scale,
                      const at::Tensor& is_taken) {
  std::vector<int64_t> places;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> weights;
  for (size_t i = 0; i < group.weights.size(); ++i) {
    const at::Tensor& weight = group.weights[i].tensor;
    if (!weight.grad().defined()) continue;
    places.push_back(static_cast<int64_t>(i));
    gradients.push_back(weight.grad());
    weights.push_back(weight.detach());
  }
  if (places.empty()) return;
  const bool has_all = places.size() == group.weights.size();
  const at::Tensor rows =
      has_all ? at::Tensor() : at::tensor(places, at::kLong).to(group.momentum.device(), true);
  const at::Tensor momentum = has_all ? group.momentum : group.momentum.index_select(0, rows);
  // Where the step is not taken the gradient may be anything: the momentum takes its place, and
  // between itself and itself it stays.
  const at::Tensor gradient =
      at::where(is_taken.to(at::kBool), at::stack(gradients) * scale, momentum);
  momentum.lerp_(gradient, 1 - options_.momentum);
  if (!has_all) group.momentum.index_copy_(0, rows, momentum);
  at::Tensor update = gradient.lerp(momentum, options_.momentum);
  if (update.is_cuda()) update = update.to(at::kBFloat16);
  update = orthogonalized(update).to(at::kFloat);
  const auto side = static_cast<double>(std::max(update.size(1), update.size(2)));
  update = at::where(is_taken.to(at::kBool), update * (-0.2 * std::sqrt(side) * rate),
                     at::zeros({}, update.options()));
  update = update.contiguous();
  const at::Tensor kept = 1 - is_taken * (rate * options_.weight_decay);
  at::_foreach_mul_(weights, kept);
  at::_foreach_add_(weights, update.unbind(0));
}

void Muon::list_state(std::vector<NamedTensor>& state) const {
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.weights.size(); ++i) {
      state.push_back({.name = group.weights[i].name + "/momentum",
                       .tensor = group.momentum.select(0, static_cast<int64_t>(i))});
    }
  }
}

}  // namespace msa::train
