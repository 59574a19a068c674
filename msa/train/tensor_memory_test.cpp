#include "msa/train/tensor_memory.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

namespace msa::train {
namespace {

TEST(TensorMemory, CountsWhatIsMadeAndLetGoOf) {
  at::Tensor outlives;
  {
    TensorMemory memory(at::kCPU);
    EXPECT_EQ(memory.bytes(), 0);
    auto a = at::ones({1000}, at::kFloat);
    outlives = at::ones({10}, at::kDouble);
    EXPECT_EQ(memory.bytes(), 4080);
    a = at::Tensor();
    EXPECT_EQ(memory.bytes(), 80);
    EXPECT_EQ(memory.peak_bytes(), 4080);
    memory.forget_peak();
    EXPECT_EQ(memory.peak_bytes(), 80);
  }
  EXPECT_EQ(outlives.sum().item<double>(), 10);
  const TensorMemory memory(at::kCPU);
  outlives = at::Tensor();  // of the count before
  EXPECT_EQ(memory.bytes(), 0);
}

}  // namespace
}  // namespace msa::train
