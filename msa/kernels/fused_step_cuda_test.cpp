#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/fused_step_model.cuh"

namespace msa::kernels {
namespace {

constexpr FusedStepShape kSmall{2, 256, 520, 6, 2, 64, 1000};

class FusedStepCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
    if (!fused_step_fits(kSmall)) GTEST_SKIP() << "no GPU of compute capability 9.0";
  }
};

TEST_F(FusedStepCuda, EqualsADoubleLoop) {
  uint32_t seed = 100;
  // One for every division of a row among threads, heads of several sizes, groups of 1 to 12.
  for (const FusedStepShape& shape :
       {kSmall, FusedStepShape{2, 1288, 520, 10, 2, 80, 203},
        FusedStepShape{1, 2568, 264, 4, 4, 128, 64}, FusedStepShape{1, 256, 5128, 8, 1, 128, 64},
        FusedStepShape{1, 5128, 264, 2, 1, 64, 40}, FusedStepShape{1, 256, 10248, 12, 1, 16, 64},
        FusedStepShape{3, 8, 8, 1, 1, 16, 5}}) {
    StepModel model(shape, 64, seed += 100);
    for (const int32_t num_rows : {0, 1, 15, 16, 40}) {
      model.set(num_rows % static_cast<int32_t>(shape.vocab_size), num_rows, num_rows);
      fused_step_cuda(model.params(), nullptr);
      model.expect_right();
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(FusedStepCuda, ANanAmongTheLogitsGivesNoToken) {
  StepModel model(kSmall, 64, 9);
  model.set(4, 5, 6);
  model.spoil_logit(777);
  fused_step_cuda(model.params(), nullptr);
  EXPECT_EQ(model.next_token(), -1);
  const auto logits = model.logits();
  EXPECT_TRUE(std::isnan(logits[777]));
  EXPECT_FALSE(std::isnan(logits[776]));
}

TEST_F(FusedStepCuda, QuantizedEqualsADoubleLoop) {
  uint32_t seed = 5000;
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    for (const FusedStepShape& shape : {FusedStepShape{2, 256, 528, 6, 2, 64, 1000, type},
                                        FusedStepShape{2, 1296, 528, 10, 2, 80, 203, type},
                                        FusedStepShape{2, 2560, 1040, 32, 8, 128, 400, type},
                                        FusedStepShape{1, 2576, 272, 4, 4, 128, 64, type},
                                        FusedStepShape{1, 256, 9728, 8, 1, 128, 64, type},
                                        FusedStepShape{1, 5136, 272, 2, 1, 64, 40, type},
                                        FusedStepShape{1, 256, 10256, 12, 1, 16, 64, type},
                                        FusedStepShape{1, 10256, 272, 1, 1, 128, 64, type},
                                        FusedStepShape{1, 64, 20480, 1, 1, 128, 64, type},
                                        FusedStepShape{3, 16, 16, 1, 1, 16, 5, type}}) {
      StepModel model(shape, 64, seed += 100);
      for (const int32_t num_rows : {0, 1, 40}) {
        model.set(num_rows % static_cast<int32_t>(shape.vocab_size), num_rows, num_rows);
        fused_step_cuda(model.params(), nullptr);
        model.expect_right();
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(FusedStepCuda, QuantizedRepeatsBitForBit) {
  for (const WeightType type : {WeightType::kInt8, WeightType::kInt4}) {
    StepModel model({3, 2560, 1040, 32, 8, 128, 5000, type}, 700, 9);
    model.set(7, 50, 600);
    std::vector<float> first;
    for (int i = 0; i < 10; ++i) {
      fused_step_cuda(model.params(), nullptr);
      const auto logits = model.logits();
      if (i == 0) first = logits;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), first.size() * sizeof(float)), 0)
          << name_of(type) << ", run " << i;
    }
    model.expect_right();
  }
}

TEST_F(FusedStepCuda, ManyRowsAreSharedAmongBlocks) {
  StepModel model({2, 256, 264, 8, 2, 128, 100}, 5200, 7);
  for (const int32_t num_rows : {143, 159, 160, 700, 2559, 5190}) {
    model.set(3, num_rows % 64, num_rows);
    fused_step_cuda(model.params(), nullptr);
    model.expect_right();
    if (HasFatalFailure()) return;
  }
}

TEST_F(FusedStepCuda, AGraphRepeatsBitForBit) {
  StepModel model(kSmall, 1000, 8);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t replay = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  fused_step_cuda(model.params(), stream);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
  for (const int32_t num_rows : {0, 500, 31}) {
    model.set(7, num_rows % 61, num_rows);
    std::vector<float> first;
    for (int i = 0; i < 10; ++i) {
      ASSERT_EQ(cudaGraphLaunch(replay, stream), cudaSuccess);
      ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
      const auto logits = model.logits();
      if (i == 0) first = logits;
      ASSERT_EQ(std::memcmp(first.data(), logits.data(), first.size() * sizeof(float)), 0)
          << "replay " << i;
    }
    model.expect_right();
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_F(FusedStepCuda, SessionsOnSeveralStreamsDoNotDisturbEachOther) {
  constexpr int kSessions = 3;
  std::vector<std::unique_ptr<StepModel>> models;
  std::vector<std::vector<float>> alone;
  cudaStream_t streams[kSessions] = {};
  for (int n = 0; n < kSessions; ++n) {
    models.push_back(
        std::make_unique<StepModel>(kSmall, 400, 1000U * static_cast<uint32_t>(n + 1)));
    models[n]->set(n, n, 100 * n);
    fused_step_cuda(models[n]->params(), nullptr);
    alone.push_back(models[n]->logits());
    ASSERT_EQ(cudaStreamCreateWithFlags(&streams[n], cudaStreamNonBlocking), cudaSuccess);
  }
  for (int i = 0; i < 50; ++i) {
    for (int n = 0; n < kSessions; ++n) fused_step_cuda(models[n]->params(), streams[n]);
  }
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  for (int n = 0; n < kSessions; ++n) {
    const auto together = models[n]->logits();
    EXPECT_EQ(std::memcmp(together.data(), alone[n].data(), alone[n].size() * sizeof(float)), 0);
    models[n]->expect_right();
    cudaStreamDestroy(streams[n]);
  }
}

TEST_F(FusedStepCuda, ShapesThatDoNotFitAreRefused) {
  const auto with = [](auto change) {
    FusedStepShape shape = kSmall;
    change(shape);
    return shape;
  };
  for (const FusedStepShape& shape :
       {with([](auto& s) { s.embed_dim = 260; }), with([](auto& s) { s.ffn_dim = 20488; }),
        with([](auto& s) { s.head_dim = 136; }), with([](auto& s) { s.num_heads = 5; }),
        with([](auto& s) { s.num_layers = 0; }), with([](auto& s) {
          s.type = WeightType::kInt8;
          s.embed_dim = 264;
        })}) {
    EXPECT_FALSE(fused_step_fits(shape));
    FusedStepParams params;
    params.shape = shape;
    EXPECT_THROW(fused_step_cuda(params, nullptr), Error);
  }
}

}  // namespace
}  // namespace msa::kernels
