#include "msa/train/optimizer.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/train/compute_device.h"

namespace msa::train {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix to_matrix(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.detach().to(at::kDouble).contiguous();
  const int64_t columns = wide.dim() == 2 ? wide.size(1) : std::max<int64_t>(wide.numel(), 1);
  Matrix matrix(static_cast<size_t>(wide.numel() / columns));
  for (size_t i = 0; i < matrix.size(); ++i) {
    const double* row = wide.data_ptr<double>() + static_cast<int64_t>(i) * columns;
    matrix[i].assign(row, row + columns);
  }
  return matrix;
}

Matrix transposed(const Matrix& a) {
  Matrix t(a[0].size(), std::vector<double>(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  }
  return t;
}

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b[0].size(), 0));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t k = 0; k < b.size(); ++k) {
      for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

Matrix sum(double x, const Matrix& a, double y, const Matrix& b) {
  Matrix c = a;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[0].size(); ++j) c[i][j] = x * a[i][j] + y * b[i][j];
  }
  return c;
}

double length_of(const Matrix& a) {
  double squares = 0;
  for (const auto& row : a) {
    for (const double value : row) squares += value * value;
  }
  return std::sqrt(squares);
}

Matrix plain_orthogonalized(const Matrix& matrix) {
  const bool is_tall = matrix.size() > matrix[0].size();
  Matrix x = is_tall ? transposed(matrix) : matrix;
  x = sum(1 / (length_of(x) + 1e-7), x, 0, x);
  for (int i = 0; i < 5; ++i) {
    const Matrix square = product(x, transposed(x));
    const Matrix even = sum(-4.7750, square, 2.0315, product(square, square));
    x = sum(3.4445, x, 1, product(even, x));
  }
  return is_tall ? transposed(x) : x;
}

/// One tensor of a plain optimizer in double precision.
struct Plain {
  Matrix weight;
  Matrix momentum;  // or mean
  Matrix square;
  int steps = 0;

  void muon(const Matrix& gradient, double rate, const OptimizerConfig& config) {
    momentum = sum(config.momentum, momentum, 1 - config.momentum, gradient);
    const Matrix update =
        plain_orthogonalized(sum(config.momentum, momentum, 1 - config.momentum, gradient));
    const auto side = static_cast<double>(std::max(weight.size(), weight[0].size()));
    weight = sum(1 - rate * config.weight_decay, weight, -0.2 * std::sqrt(side) * rate, update);
  }

  void adamw(const Matrix& gradient, double rate, double decay, const OptimizerConfig& config) {
    ++steps;
    momentum = sum(config.beta1, momentum, 1 - config.beta1, gradient);
    for (size_t i = 0; i < weight.size(); ++i) {
      for (size_t j = 0; j < weight[0].size(); ++j) {
        const double g = gradient[i][j];
        square[i][j] = config.beta2 * square[i][j] + (1 - config.beta2) * g * g;
        const double mean = momentum[i][j] / (1 - std::pow(config.beta1, steps));
        const double root = std::sqrt(square[i][j] / (1 - std::pow(config.beta2, steps)));
        weight[i][j] = (1 - rate * decay) * weight[i][j] - rate * mean / (root + config.epsilon);
      }
    }
  }
};

/// torch takes its CUDA half into account only if that is loaded before anything asks for it, and
/// at::manual_seed does.
class GpuFirst : public testing::Environment {
 public:
  void SetUp() override { open_compute_device("auto"); }
};
const testing::Environment* const kGpuFirst = testing::AddGlobalTestEnvironment(new GpuFirst);

class OptimizerTest : public testing::Test {
 protected:
  OptimizerTest() {
    at::manual_seed(11);
    const auto add = [&](const char* name, std::vector<int64_t> shape) {
      at::Tensor value = at::randn(shape);
      value.requires_grad_(true);
      parameters_.push_back({.name = name, .tensor = value});
    };
    add("model.embed_tokens.weight", {11, 6});
    add("model.layers.0.self_attn.q_proj.weight", {8, 6});
    add("model.layers.0.self_attn.k_proj.weight", {4, 6});
    add("model.layers.1.self_attn.q_proj.weight", {8, 6});
    add("model.layers.1.self_attn.router_q_proj.0.weight", {8, 6});
    add("model.norm.weight", {6});
    add("temperature", {});
  }

  /// Gradients of a step; of the router only in even ones.
  void set_gradients(int step, double width = 1) {
    at::manual_seed(static_cast<uint64_t>(100 + step));
    for (const NamedTensor& parameter : parameters_) {
      const at::Tensor gradient = at::randn(parameter.tensor.sizes()) * width;
      const bool has_none = step % 2 != 0 && parameter.name.find("router") != std::string::npos;
      parameter.tensor.mutable_grad() = has_none ? at::Tensor() : gradient;
    }
  }

  std::vector<at::Tensor> copies(const std::vector<NamedTensor>& tensors) const {
    std::vector<at::Tensor> values;
    for (const NamedTensor& tensor : tensors) values.push_back(tensor.tensor.detach().clone());
    return values;
  }
  std::vector<at::Tensor> everything(const Optimizer& optimizer) const {
    std::vector<at::Tensor> values = copies(parameters_);
    for (const at::Tensor& value : copies(optimizer.state())) values.push_back(value);
    return values;
  }
  static bool are_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    bool equal = a.size() == b.size();
    for (size_t i = 0; equal && i < a.size(); ++i) equal = at::equal(a[i], b[i]);
    return equal;
  }

  void expect_plain_steps(const OptimizerConfig& config, double width) {
    std::map<std::string, Plain> plain;
    for (const NamedTensor& parameter : parameters_) {
      const Matrix weight = to_matrix(parameter.tensor);
      const Matrix zero = sum(0, weight, 0, weight);
      plain[parameter.name] = {.weight = weight, .momentum = zero, .square = zero, .steps = 0};
    }
    Optimizer optimizer(parameters_, config);
    for (int step = 0; step < 4; ++step) {
      const double rate = 0.02 / (step + 1);
      set_gradients(step, width);
      std::map<std::string, Matrix> gradients;
      double squares = 0;
      for (const NamedTensor& parameter : parameters_) {
        if (!parameter.tensor.grad().defined()) continue;
        gradients[parameter.name] = to_matrix(parameter.tensor.grad());
        squares += std::pow(length_of(gradients[parameter.name]), 2);
      }
      const double norm = std::sqrt(squares);
      const double scale = config.clip > 0 ? std::min(1.0, config.clip / (norm + 1e-6)) : 1;
      for (auto& [name, gradient] : gradients) {
        gradient = sum(scale, gradient, 0, gradient);
        const bool is_embedding = name.find("embed") != std::string::npos;
        const bool is_matrix = name.find("proj") != std::string::npos;
        if (is_matrix && config.method == OptimizerMethod::kMuon) {
          plain[name].muon(gradient, rate, config);
        } else {
          const double factor = is_matrix               ? 1
                                : is_embedding          ? config.embedding_rate
                                : name != "temperature" ? config.vector_rate
                                                        : config.scalar_rate;
          plain[name].adamw(gradient, rate * factor, is_matrix ? config.weight_decay : 0, config);
        }
      }
      const Optimizer::Step taken = optimizer.step(rate);
      EXPECT_NEAR(taken.gradient_norm.item<double>(), norm, 1e-5 * norm);
      EXPECT_EQ(taken.is_taken.item<float>(), 1);
    }
    for (const NamedTensor& parameter : parameters_) {
      const Matrix got = to_matrix(parameter.tensor);
      const Matrix& want = plain[parameter.name].weight;
      for (size_t i = 0; i < want.size(); ++i) {
        for (size_t j = 0; j < want[0].size(); ++j) {
          EXPECT_NEAR(got[i][j], want[i][j], 2e-5 + 2e-5 * std::abs(want[i][j]))
              << parameter.name << " " << i << " " << j;
        }
      }
    }
  }

  std::vector<NamedTensor> parameters_;
};

TEST_F(OptimizerTest, BringsSingularValuesNearOne) {
  for (const auto& [rows, columns] : {std::pair{8, 20}, {20, 8}, {16, 16}}) {
    const at::Tensor values =
        at::linalg_svdvals(orthogonalized(at::randn({3, rows, columns}) * 1e-3), std::nullopt);
    EXPECT_GT(values.min().item<float>(), rows == columns ? 0.1F : 0.6F);
    EXPECT_LT(values.max().item<float>(), 1.25F);
  }
  EXPECT_TRUE(at::isfinite(orthogonalized(at::zeros({1, 4, 4}))).all().item<bool>());
}

TEST_F(OptimizerTest, MuonEqualsPlainLoops) { expect_plain_steps({}, 1); }

TEST_F(OptimizerTest, MuonWithoutClippingAndDecayEqualsPlainLoops) {
  OptimizerConfig config;
  config.clip = 0;
  config.weight_decay = 0;
  config.momentum = 0.8;
  expect_plain_steps(config, 3);
}

TEST_F(OptimizerTest, AShortGradientIsNotMadeLonger) {
  OptimizerConfig config;
  config.clip = 1000;
  config.epsilon = 1e-3;
  expect_plain_steps(config, 1);
}

TEST_F(OptimizerTest, AdamWForAllEqualsPlainLoops) {
  OptimizerConfig config;
  config.method = OptimizerMethod::kAdamW;
  config.beta2 = 0.99;
  config.weight_decay = 0.3;
  expect_plain_steps(config, 1);
}

TEST_F(OptimizerTest, AStepThatIsNotFiniteOrNotWantedChangesNothingAndLeavesNoTrace) {
  for (const auto method : {OptimizerMethod::kMuon, OptimizerMethod::kAdamW}) {
    OptimizerConfig config;
    config.method = method;
    Optimizer optimizer(parameters_, config);
    set_gradients(0);
    optimizer.step(0.01);
    const std::vector<at::Tensor> before = everything(optimizer);
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < parameters_.size(); ++i) {
      for (const float bad : {std::nanf(""), kInfinity, -kInfinity, 3e38F}) {
        set_gradients(2);
        parameters_[i].tensor.mutable_grad().view(-1)[-1].fill_(bad);
        const Optimizer::Step step = optimizer.step(0.01);
        EXPECT_EQ(step.is_taken.item<float>(), 0);
        EXPECT_FALSE(std::isfinite(step.gradient_norm.item<float>()));
        ASSERT_TRUE(are_equal(everything(optimizer), before)) << parameters_[i].name << " " << bad;
      }
    }
    set_gradients(2);
    const Optimizer::Step step = optimizer.step(0.01, at::zeros({}, at::kBool));
    EXPECT_EQ(step.is_taken.item<float>(), 0);
    EXPECT_TRUE(std::isfinite(step.gradient_norm.item<float>()));
    EXPECT_TRUE(are_equal(everything(optimizer), before));
    set_gradients(2);
    optimizer.step(0.01, at::ones({}, at::kBool));
    EXPECT_FALSE(are_equal(everything(optimizer), before));
  }
}

TEST_F(OptimizerTest, GoesOnBitForBitFromItsState) {
  Optimizer first(parameters_, {});
  for (int step = 0; step < 3; ++step) {
    set_gradients(step);
    first.step(0.01);
  }
  const std::vector<at::Tensor> weights = copies(parameters_);
  std::vector<NamedTensor> state;
  for (const NamedTensor& tensor : first.state()) {
    state.push_back({.name = tensor.name, .tensor = tensor.tensor.clone()});
  }
  const auto go_on = [&](Optimizer& optimizer) {
    for (int step = 3; step < 6; ++step) {
      set_gradients(step);
      optimizer.step(0.01);
    }
    return everything(optimizer);
  };
  const std::vector<at::Tensor> want = go_on(first);
  for (size_t i = 0; i < weights.size(); ++i) parameters_[i].tensor.detach().copy_(weights[i]);
  Optimizer second(parameters_, {});
  std::reverse(state.begin(), state.end());  // names count, not places
  second.load_state(state);
  EXPECT_TRUE(are_equal(go_on(second), want));
}

TEST_F(OptimizerTest, AStateOfAnotherModelIsRefusedAndNothingChanges) {
  Optimizer optimizer(parameters_, {});
  set_gradients(0);
  optimizer.step(0.01);
  const std::vector<at::Tensor> before = everything(optimizer);
  using Change = std::function<void(std::vector<NamedTensor>&)>;
  const std::vector<std::pair<std::string, Change>> changes{
      {"lacks", [](auto& state) { state.pop_back(); }},
      {"lacks", [](auto& state) { state[0].name += "x"; }},
      {"holds",
       [](auto& state) {
         state.push_back({"more", at::zeros({1})});
       }},
      {"holds", [](auto& state) { state.push_back(state[0]); }},
      {"shape or type",
       [](auto& state) {
         state[0].tensor = at::zeros({2, 2});
       }},
      {"shape or type", [](auto& state) { state[0].tensor = state[0].tensor.to(at::kDouble); }}};
  for (const auto& [part, change] : changes) {
    std::vector<NamedTensor> state = optimizer.state();
    for (NamedTensor& tensor : state) tensor.tensor = tensor.tensor + 1;
    change(state);
    try {
      optimizer.load_state(state);
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kMismatch);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
    EXPECT_TRUE(are_equal(everything(optimizer), before)) << part;
  }
}

TEST_F(OptimizerTest, TheSameOnAGpu) {
  at::Device device = at::kCPU;
  try {
    device = open_compute_device("gpu");
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  for (const auto method : {OptimizerMethod::kMuon, OptimizerMethod::kAdamW}) {
    OptimizerConfig config;
    config.method = method;
    const std::vector<at::Tensor> start = copies(parameters_);
    std::vector<NamedTensor> on_gpu;
    for (const NamedTensor& parameter : parameters_) {
      on_gpu.push_back({.name = parameter.name, .tensor = parameter.tensor.detach().to(device)});
      on_gpu.back().tensor.requires_grad_(true);
    }
    Optimizer here(parameters_, config);
    Optimizer there(on_gpu, config);
    const auto set_both = [&](int step) {
      set_gradients(step);
      for (size_t i = 0; i < on_gpu.size(); ++i) {
        const at::Tensor& gradient = parameters_[i].tensor.grad();
        on_gpu[i].tensor.mutable_grad() = gradient.defined() ? gradient.to(device) : at::Tensor();
      }
    };
    for (int step = 0; step < 4; ++step) {
      set_both(step);
      const double norm = here.step(0.01).gradient_norm.item<double>();
      EXPECT_NEAR(there.step(0.01).gradient_norm.item<double>(), norm, 1e-5 * norm);
    }
    for (size_t i = 0; i < on_gpu.size(); ++i) {
      const at::Tensor moved = parameters_[i].tensor.detach() - start[i];
      const at::Tensor moved_there = on_gpu[i].tensor.detach().cpu() - start[i];
      const bool is_rounded =
          method == OptimizerMethod::kMuon && on_gpu[i].name.find("proj") != std::string::npos;
      EXPECT_LT((moved - moved_there).norm().item<double>(),
                (is_rounded ? 0.03 : 1e-4) * moved.norm().item<double>())
          << on_gpu[i].name;
    }
    const auto everything_there = [&] {
      std::vector<at::Tensor> values = copies(on_gpu);
      for (const at::Tensor& value : copies(there.state())) values.push_back(value);
      return values;
    };
    const std::vector<at::Tensor> before = everything_there();
    for (size_t i = 0; i < on_gpu.size(); ++i) {
      set_both(2);
      on_gpu[i].tensor.mutable_grad().view(-1)[0].fill_(std::nanf(""));
      EXPECT_EQ(there.step(0.01).is_taken.item<float>(), 0);
      EXPECT_TRUE(are_equal(everything_there(), before)) << on_gpu[i].name;
    }
    set_both(2);
    there.step(0.01, at::zeros({}, at::device(device).dtype(at::kBool)));
    EXPECT_TRUE(are_equal(everything_there(), before));
    std::vector<NamedTensor> state;
    for (const NamedTensor& tensor : there.state()) {
      state.push_back({.name = tensor.name, .tensor = tensor.tensor.cpu()});
    }
    set_both(2);
    there.step(0.01);
    const std::vector<at::Tensor> after = everything_there();
    for (size_t i = 0; i < on_gpu.size(); ++i) on_gpu[i].tensor.detach().copy_(before[i]);
    Optimizer again(on_gpu, config);
    again.load_state(state);
    set_both(2);
    again.step(0.01);
    std::vector<at::Tensor> values = copies(on_gpu);
    for (const at::Tensor& value : copies(again.state())) values.push_back(value);
    EXPECT_TRUE(are_equal(values, after)) << "a step from the state that was saved";
  }
}

TEST_F(OptimizerTest, WithoutAnyGradientThereIsNoStep) {
  Optimizer optimizer(parameters_, {});
  set_gradients(0);
  optimizer.clear_gradients();
  for (const NamedTensor& parameter : parameters_) EXPECT_FALSE(parameter.tensor.grad().defined());
  EXPECT_THROW(optimizer.step(0.01), Error);
}

}  // namespace
}  // namespace msa::train
