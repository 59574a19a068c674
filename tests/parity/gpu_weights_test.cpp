// The embedded model decoding from quantised weights on a GPU: the same logits as from the same
// weights on the CPU, and what their rounding costs.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/engine/loaded_model.h"
#include "msa/kernels/content_rows.h"
#include "msa/model/cpu_session.h"
#include "tests/parity/golden_set.h"

namespace msa::parity {
namespace {

using kernels::WeightType;

std::filesystem::path folder() { return source_folder() / "models/msa-tiny"; }

std::vector<std::vector<int32_t>> documents(const engine::LoadedModel& model) {
  std::vector<std::vector<int32_t>> tokens;
  for (const Json& line : GoldenSet(folder()).lines("golden_memory.jsonl")) {
    tokens.push_back(model.layout()
                         .document(line.at("id").get<int64_t>(), line.at("text").get<std::string>())
                         .tokens);
  }
  return tokens;
}

/// A matrix [M, K] as rows of a type hold it, in float32.
at::Tensor rounded(const at::Tensor& matrix, WeightType type) {
  const at::Tensor wide = matrix.to(at::kFloat).contiguous().clone();
  const kernels::ContentType content = kernels::content_type_of(type);
  const auto row_bytes = kernels::weight_layout(type, wide.size(1)).row_bytes;
  std::vector<std::byte> rows(wide.size(0) * row_bytes);
  kernels::quantize_content({.row = wide.data_ptr<float>(),
                             .num_rows = wide.size(0),
                             .num_kv_heads = 1,
                             .head_dim = wide.size(1),
                             .type = content,
                             .out = rows.data()});
  kernels::dequantize_content({.row = rows.data(),
                               .num_rows = wide.size(0),
                               .num_kv_heads = 1,
                               .head_dim = wide.size(1),
                               .type = content,
                               .out = wide.data_ptr<float>()});
  return wide;
}

/// The model on the CPU, decoding from weights of a type.
std::unique_ptr<model::Transformer> rounded_model(WeightType type) {
  const c10::InferenceMode guard;
  auto config = model::load_config(real_file_system(), folder());
  auto weights =
      model::load_weights(real_file_system(), folder(), config, model::Precision::kFloat32);
  weights.step.head = rounded(weights.step.head, type);
  for (model::LayerWeights& layer : weights.step.layers) {
    for (at::Tensor* matrix : {&layer.input, &layer.output, &layer.gate_up, &layer.down}) {
      *matrix = rounded(*matrix, type);
    }
  }
  return model::Transformer::of(std::move(config), std::move(weights));
}

class GpuWeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      kernels::Gpu::open();
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
  }

  static std::unique_ptr<engine::LoadedModel> load(WeightType type) {
    engine::LoadOptions options;
    options.folder = folder();
    options.gpu = kernels::Gpu::open();
    options.step_type = type;
    return engine::LoadedModel::load(real_file_system(), std::move(options));
  }
};

double distance(std::span<const float> a, std::span<const float> b) {
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    size += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / size);
}

TEST_F(GpuWeightsTest, StepsAreThoseOfTheSameWeightsOnTheCpu) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    const auto on_cpu = rounded_model(type);
    const auto on_gpu = load(type);
    for (const auto& tokens : documents(*on_gpu)) {
      if (tokens.size() < 60) continue;
      model::CpuSession wanted(*on_cpu, {});
      const auto got = on_gpu->new_session(nullptr);
      wanted.extend(std::span(tokens).first(20));
      got->extend(std::span(tokens).first(20));
      for (size_t i = 20; i < 60; ++i) {
        const auto logits = got->extend(std::span(&tokens[i], 1));
        ASSERT_LT(distance(logits, wanted.extend(std::span(&tokens[i], 1))), 0.03)
            << kernels::name_of(type) << ", token " << i;
      }
      break;
    }
  }
}

/// Of the next token, in nats.
double divergence(std::span<const float> of, std::span<const float> from) {
  const auto log_sum = [](std::span<const float> logits) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    return largest + std::log(sum);
  };
  const double of_sum = log_sum(of);
  const double from_sum = log_sum(from);
  double total = 0;
  for (size_t i = 0; i < of.size(); ++i) {
    const double log_share = of[i] - of_sum;
    total += std::exp(log_share) * (log_share - (from[i] - from_sum));
  }
  return total;
}

struct Loss {
  int64_t num_tokens = 0;
  int64_t num_same = 0;      // the same most probable token
  double divergence = 0;     // mean, from bfloat16 weights
  double lost_surprise = 0;  // mean, of the text's own tokens: nats more than with bfloat16
};

/// 40 tokens of every document, one by one behind the first 16.
Loss loss_of(const engine::LoadedModel& wanted, const engine::LoadedModel& got) {
  constexpr size_t kFirst = 16;
  constexpr size_t kTokens = 40;
  Loss loss;
  for (const auto& tokens : documents(wanted)) {
    if (tokens.size() <= kFirst + kTokens) continue;
    const auto a = wanted.new_session(nullptr);
    const auto b = got.new_session(nullptr);
    a->extend(std::span(tokens).first(kFirst));
    b->extend(std::span(tokens).first(kFirst));
    for (size_t i = kFirst; i < kFirst + kTokens; ++i) {
      const auto logits = a->extend(std::span(&tokens[i], 1));
      const auto rough = b->extend(std::span(&tokens[i], 1));
      ++loss.num_tokens;
      loss.num_same += model::most_probable(logits) == model::most_probable(rough) ? 1 : 0;
      loss.divergence += divergence(logits, rough);
      const int32_t next = tokens[i + 1];
      const auto surprise = [&](std::span<const float> of) {
        double sum = 0;
        for (const float logit : of) sum += std::exp(static_cast<double>(logit) - of[next]);
        return std::log(sum);
      };
      loss.lost_surprise += surprise(rough) - surprise(logits);
    }
  }
  loss.divergence /= static_cast<double>(loss.num_tokens);
  loss.lost_surprise /= static_cast<double>(loss.num_tokens);
  return loss;
}

TEST_F(GpuWeightsTest, LogitsStayNearThoseOfBFloat16) {
  const auto wanted = load(WeightType::kBFloat16);
  const auto expect = [&](WeightType type, double most_divergence, double least_same) {
    const Loss loss = loss_of(*wanted, *load(type));
    const double same = static_cast<double>(loss.num_same) / static_cast<double>(loss.num_tokens);
    printf("%s: %lld tokens, %.4f the same most probable token, divergence %.5f, surprise %+.5f\n",
           std::string(kernels::name_of(type)).c_str(), static_cast<long long>(loss.num_tokens),
           same, loss.divergence, loss.lost_surprise);
    EXPECT_GT(loss.num_tokens, 4000);
    EXPECT_LT(loss.divergence, most_divergence);
    EXPECT_GT(same, least_same);
  };
  expect(WeightType::kInt8, 0.005, 0.97);
  expect(WeightType::kInt4, 0.2, 0.8);
}

}  // namespace
}  // namespace msa::parity
