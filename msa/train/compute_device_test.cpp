#include "msa/train/compute_device.h"

#include <gtest/gtest.h>

namespace msa::train {
namespace {

TEST(ComputeDevice, ThePeakIsThatOfTheName) {
  EXPECT_EQ(peak_flops("NVIDIA H200"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(peak_flops("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(peak_flops("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(peak_flops("NVIDIA GeForce RTX 4090"), 0);
  EXPECT_EQ(peak_flops(name_of(at::kCPU)), 0);
}

}  // namespace
}  // namespace msa::train
