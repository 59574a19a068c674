// Every rule on a GPU against the CPU in float64. Torch's CUDA half is loaded where it can be.

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <torch/csrc/autograd/function.h>

#include <string>
#include <utility>

#include "msa/autograd/best_scores.h"
#include "msa/autograd/device_kernels.h"
#include "msa/autograd/dropout.h"
#include "msa/autograd/linear.h"
#include "msa/autograd/norm_rope.h"
#include "msa/autograd/packed_attention.h"
#include "msa/autograd/pair_scores.h"
#include "msa/autograd/rule_cases.h"

namespace msa::autograd {
namespace {

// Before torch first asks whether there is a GPU: it remembers the answer.
const bool kHasCudaLibrary = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr;

class RulesOnAGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (!kHasCudaLibrary || !at::globalContext().hasCUDA()) GTEST_SKIP() << "no GPU";
  }
};

void expect_equal_on_gpu(const RuleCase& c) {
  SCOPED_TRACE(c.name);
  const auto wanted = differentiate(c, at::kCPU, at::kDouble);
  for (const auto& [type, tolerance] :
       {std::pair{at::kDouble, 1e-10}, {at::kFloat, 1e-4}, {at::kBFloat16, 2e-2}}) {
    SCOPED_TRACE(c10::toString(type));
    expect_equal(differentiate(c, {at::kCUDA, 0}, type), wanted, tolerance);
  }
}

/// The first `num_values` inputs are values, the others weights, which stay float32 or wider.
void expect_equal_on_gpu(const DeviceRule& rule, const Tensors& inputs, size_t num_values) {
  expect_equal_on_gpu({.name = "", .rule = rule, .inputs = inputs, .num_values = num_values});
}

/// The rule behind a bfloat16 result is one of the kernels.
TEST_F(RulesOnAGpu, KernelsAreUsed) {
  if (!missing_kernels().empty()) GTEST_SKIP() << missing_kernels();
  const auto values = [](at::IntArrayRef sizes, uint32_t seed) {
    return random_tensor(sizes, seed).to({at::kCUDA, 0}, at::kBFloat16).requires_grad_();
  };
  const auto weight = at::ones({64}, at::device({at::kCUDA, 0}));
  const auto angle = at::zeros({9, 32}, weight.options());
  const auto offsets = tensor_of<int32_t>({0, 4, 9}).to({at::kCUDA, 0});
  const auto rows = tensor_of<int64_t>({1, 1, 8}).to({at::kCUDA, 0});
  const auto x = values({9, 64}, 1);
  const auto heads = attention_heads(values({9, 4 * 64}, 2), {2, 1, 64}, weight, weight, 1e-6,
                                     angle.cos(), angle.sin());
  for (const auto& result :
       {rms_norm(x, weight, 1e-6), add_rms_norm(x, x, weight, 1e-6).normed, heads.q, heads.k,
        heads.v, swiglu(x), unit_heads(values({9, 2, 32}, 3)), pool_chunks(x, offsets),
        gather_rows(x, rows)}) {
    EXPECT_THAT(result.grad_fn()->name(), testing::HasSubstr("Device"));
  }
  EXPECT_EQ(device_kernels({x, x.to(at::kFloat)}), nullptr);
  EXPECT_EQ(device_kernels({x.flatten().narrow(0, 1, 8)}), nullptr);
}

TEST_F(RulesOnAGpu, RulesThatHaveKernels) {
  for (const RuleCase& c : kernel_rule_cases()) expect_equal_on_gpu(c);
}

TEST_F(RulesOnAGpu, RulesThatHaveNone) {
  const auto rows_of = tensor_of<int64_t>({3, 0, 3, 3, 9, 1, 0});
  const auto others = tensor_of<int64_t>({0, 0, 1, 9, 2, 2, 3});
  expect_equal_on_gpu(
      [&](const Tensors& in, at::Device device) {
        return pair_scores(in[0], in[1], rows_of.to(device), others.to(device));
      },
      {random_tensor({10, 48}, 11), random_tensor({10, 48}, 12)}, 2);
  for (const int64_t rows : {0, 1, 300}) {
    const auto angle = random_tensor({rows, 32}, 4);
    expect_equal_on_gpu(
        [&](const Tensors& in, at::Device device) {
          const auto x = in[0].narrow(1, 64, 192).unflatten(1, {3, 64});
          return norm_rope(x, in[1], 1e-6, angle.cos().to(device), angle.sin().to(device));
        },
        {random_tensor({rows, 320}, 5), random_tensor({64}, 6)}, 1);
    expect_equal_on_gpu(
        [](const Tensors& in, at::Device) {
          return linear(in[0], product_weight({in[1]}, in[0].scalar_type()));
        },
        {random_tensor({rows, 96}, 7), random_tensor({40, 96}, 8)}, 1);
  }
}

TEST_F(RulesOnAGpu, Attention) {
  struct Case {
    std::vector<int32_t> query_offsets;
    std::vector<int32_t> key_offsets;
    int64_t num_heads, num_kv_heads, head_dim;
  };
  // The last heads are no multiple of 8: they are composed.
  for (const auto& c :
       {Case{{0, 1}, {0, 1}, 1, 1, 16}, Case{{0, 3, 8, 8, 15}, {0, 9, 14, 20, 60}, 3, 1, 64},
        Case{{0, 40, 340}, {0, 150, 650}, 6, 2, 64}, Case{{0, 33}, {0, 70}, 4, 4, 128},
        Case{{0, 7, 9}, {0, 30, 35}, 2, 1, 20}}) {
    SCOPED_TRACE(c.head_dim);
    int64_t longest[2] = {0, 0};
    for (size_t s = 0; s + 1 < c.query_offsets.size(); ++s) {
      longest[0] = std::max<int64_t>(longest[0], c.query_offsets[s + 1] - c.query_offsets[s]);
      longest[1] = std::max<int64_t>(longest[1], c.key_offsets[s + 1] - c.key_offsets[s]);
    }
    expect_equal_on_gpu(
        [&](const Tensors& in, at::Device device) {
          return packed_attention(in[0], in[1], in[2], tensor_of(c.query_offsets).to(device),
                                  tensor_of(c.key_offsets).to(device), longest[0], longest[1], 0.2);
        },
        {random_tensor({c.query_offsets.back(), c.num_heads, c.head_dim}, 14),
         random_tensor({c.key_offsets.back(), c.num_kv_heads, c.head_dim}, 15),
         random_tensor({c.key_offsets.back(), c.num_kv_heads, c.head_dim}, 16)},
        3);
  }
}

TEST_F(RulesOnAGpu, DropoutFollowsFromItsSeedAlone) {
  constexpr double kShare = 0.25;
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto x = at::ones({700, 512}, at::device({at::kCUDA, 0}).dtype(type));
    const auto of_seed = [&](uint64_t seed) {
      return differentiate([&](const Tensors& in) { return dropout(in[0], kShare, seed); }, {x}, 3);
    };
    const auto first = of_seed(8);
    const auto again = of_seed(8);
    EXPECT_TRUE(again.result.equal(first.result));
    EXPECT_TRUE(again.gradients[0].equal(first.gradients[0]));
    EXPECT_FALSE(of_seed(9).result.equal(first.result));
    const auto is_dropped = first.result == 0;
    EXPECT_NEAR(is_dropped.to(at::kDouble).mean().item<double>(), kShare, 0.005);
    EXPECT_TRUE(
        first.gradients[0].masked_select(is_dropped).equal(first.result.masked_select(is_dropped)));
    EXPECT_GT(first.gradients[0].masked_select(is_dropped.logical_not()).abs().min().item<double>(),
              0);
  }
}

TEST_F(RulesOnAGpu, GradientsRepeatBitForBit) {
  const at::Device gpu(at::kCUDA, 0);
  const auto twice = [&](const Rule& rule, const Tensors& inputs) {
    const auto first = differentiate(rule, inputs, 22);
    for (int trial = 0; trial < 3; ++trial) {
      const auto again = differentiate(rule, inputs, 22);
      EXPECT_TRUE(again.result.equal(first.result));
      for (size_t i = 0; i < inputs.size(); ++i) {
        EXPECT_TRUE(again.gradients[i].equal(first.gradients[i])) << "input " << i;
      }
    }
  };
  // Long enough for many blocks of keys to add to one query's gradient.
  const auto offsets = at::arange(0, 8001, 2000, at::kInt).to(gpu);
  const auto values = [&](int64_t heads, uint32_t seed) {
    return random_tensor({8000, heads, 64}, seed).to(gpu, at::kBFloat16);
  };
  twice(
      [&](const Tensors& in) {
        return packed_attention(in[0], in[1], in[2], offsets, offsets, 2000, 2000, 0.125);
      },
      {values(6, 23), values(2, 24), values(2, 25)});
  const auto rows = at::arange(40000, at::kLong).mul_(7).remainder_(300).to(gpu);
  twice([&](const Tensors& in) { return gather_rows(in[0], rows); },
        {random_tensor({300, 128}, 26).to(gpu, at::kBFloat16)});
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
}

TEST_F(RulesOnAGpu, TokenLossOfSeveralBlocks) {
  const auto targets = at::arange(3000, at::kLong).mul_(7).remainder_(50000);
  const auto weights = random_tensor({3000}, 17).abs();
  const Tensors inputs{random_tensor({3000, 32}, 18) * 0.3, random_tensor({50000, 32}, 19)};
  expect_equal_on_gpu(
      [&](const Tensors& in, at::Device device) {
        return token_loss(in[0], in[1], targets.to(device), weights.to(device, at::kFloat)).loss;
      },
      inputs, 1);
}

TEST_F(RulesOnAGpu, TokenLossesOfOddBlocks) {
  // Blocks of 3,548 rows, of which the last is short; a loss a token too.
  const auto targets = at::arange(3601, at::kLong).mul_(83).remainder_(151400);
  const auto weights = random_tensor({3601}, 38).abs();
  const auto hidden = random_tensor({3601, 16}, 39) * 0.3;
  const auto head = random_tensor({151400, 16}, 40);
  expect_equal_on_gpu(
      [&](const Tensors& in, at::Device device) {
        return token_loss(in[0], in[1], targets.to(device), weights.to(device, at::kFloat)).loss;
      },
      {hidden, head}, 1);
  const at::Device gpu(at::kCUDA, 0);
  const auto wanted = token_loss(hidden, head, targets, weights.to(at::kFloat)).each;
  const auto got = token_loss(hidden.to(gpu, at::kBFloat16), head.to(gpu, at::kFloat),
                              targets.to(gpu), weights.to(gpu, at::kFloat))
                       .each;
  EXPECT_LT((got.cpu() - wanted).abs().max().item<double>(), 0.1);
}

TEST_F(RulesOnAGpu, BestScores) {
  const at::Device gpu(at::kCUDA, 0);
  std::vector<int32_t> query_offsets{0};
  std::vector<int32_t> chunk_offsets{0};
  for (int32_t i = 0; i < 50; ++i) query_offsets.push_back(query_offsets.back() + 1 + i * 7 % 30);
  for (int32_t i = 0; i < 300; ++i) chunk_offsets.push_back(chunk_offsets.back() + 1 + i * 5 % 12);
  const auto queries = random_tensor({query_offsets.back(), 64}, 20);
  const auto keys = random_tensor({chunk_offsets.back(), 64}, 21);
  const auto chunks = tensor_of(chunk_offsets);
  const auto blocks = [&](at::Device device) {
    return question_blocks(query_offsets, chunk_offsets.back(), device);
  };
  const auto wanted = best_scores(queries, blocks(at::kCPU), keys, chunks, 12);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const int64_t most_chunks : {12, 15}) {
      const auto got = best_scores(queries.to(gpu, type), blocks(gpu), keys.to(gpu, type),
                                   chunks.to(gpu), most_chunks);
      EXPECT_LT((got.scores.cpu() - wanted.scores).abs().max().item<double>(), 1e-3);
      const auto pairs = queries.index_select(0, got.token.cpu().flatten()) *
                         keys.index_select(0, got.chunk.cpu().flatten());
      EXPECT_LT((pairs.sum(-1) - wanted.scores.flatten()).abs().max().item<double>(), 1e-3);
    }
  }
}

}  // namespace
}  // namespace msa::autograd
