#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/device_gemv.h"
#include "msa/kernels/device_heads.h"
#include "msa/kernels/device_rows.h"
#include "msa/kernels/late_row.h"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/step_attention.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

constexpr int64_t kDim = 512;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadDim = 64;
constexpr int64_t kRows = 40;  // of the cache
constexpr int64_t kJoint = (kHeads + 2 * kKvHeads) * kHeadDim;
static_assert(kJoint == kDim);

/// One row of kDim numbers that comes late, as float32 and as bfloat16, and kernels that read it.
class LateRow : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
    values_ = to_device(random_floats(kDim, 1));
    row_ = to_device(std::vector<float>(kDim));
    narrow_row_ = to_device(std::vector<BFloat16>(kDim));
    other_ = to_device(random_floats(kDim, 2));
    other_out_ = to_device(std::vector<float>(kDim));
    weight_ = to_device(rounded(random_floats(2 * kDim * kDim, 3, 0.05F)));
    norm_ = to_device(random_floats(kDim, 4));
    cache_ = to_device(rounded(random_floats(2 * kRows * kKvHeads * kHeadDim, 5)));
    tables_ = to_device(random_floats(2 * kHeadDim, 6));
    offsets_ = to_device(std::vector<int64_t>{0, 4});
    chunks_ = to_device(std::vector<int64_t>{0, 2});
    numbers_ = to_device(std::vector<int32_t>{1, kRows - 1});  // position, rows; also token 1
    out_ = to_device(std::vector<float>(2 * kDim));
    late_ = {{"gemv", [this](cudaStream_t s) { gemv(row_.get(), out_.get(), false, s); }},
             {"gated gemv", [this](cudaStream_t s) { gemv(row_.get(), out_.get(), true, s); }},
             {"rms_norm", [this](cudaStream_t s) { norm(row_.get(), out_.get(), s); }},
             {"swiglu",
              [this](cudaStream_t s) {
                swiglu_cuda({.gate_up = row_.get(), .out = out_.get(), .dim = kDim / 2}, 1, s);
              }},
             {"embed_rows",
              [this](cudaStream_t s) {
                embed_rows_cuda({.embedding = row_.get(),
                                 .type = NumberType::kFloat32,
                                 .token = numbers_.get(),
                                 .x = out_.get(),
                                 .num_tokens = 1,
                                 .dim = kDim / 2},
                                s);
              }},
             {"spread_heads", [this](cudaStream_t s) { spread(s); }},
             {"fold_queries", [this](cudaStream_t s) { fold(false, s); }},
             {"mean of folded queries", [this](cudaStream_t s) { fold(true, s); }},
             {"pool_chunks", [this](cudaStream_t s) { pool(s); }},
             {"step_attention", [this](cudaStream_t s) { attend(s); }}};
    ASSERT_EQ(cudaStreamCreate(&stream_), cudaSuccess);
  }
  void TearDown() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  void write(cudaStream_t stream) {
    clear(row_.get(), kDim * sizeof(float));
    clear(narrow_row_.get(), kDim * sizeof(BFloat16));
    clear(out_.get(), 2 * kDim * sizeof(float));
    write_late(
        {.from = values_.get(), .to = row_.get(), .narrow_to = narrow_row_.get(), .count = kDim},
        stream);
  }

  /// Reads nothing that comes late.
  void norm_another_row(cudaStream_t stream) { norm(other_.get(), other_out_.get(), stream); }

  /// What a kernel leaves that reads the row: when that is there, or is only on its way.
  std::vector<float> run(const std::function<void(cudaStream_t)>& kernel, bool waits,
                         bool has_one_between) {
    write(stream_);
    if (waits) {
      EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    }
    if (has_one_between) norm_another_row(stream_);
    kernel(stream_);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
    return to_host(out_, 2 * kDim);
  }

  struct Named {
    std::string name;
    std::function<void(cudaStream_t)> kernel;
  };
  std::vector<Named> late_;

 private:
  static void clear(void* memory, size_t bytes) {
    EXPECT_EQ(cudaMemset(memory, 0, bytes), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  void gemv(const float* x, float* y, bool is_gated, cudaStream_t stream) {
    gemv_cuda({.weight = weight_.get(),
               .x = x,
               .norm = norm_.get(),
               .eps = 1e-6F,
               .y = y,
               .num_rows = kDim,
               .num_columns = kDim,
               .is_gated = is_gated},
              stream);
  }
  void norm(const float* x, float* out, cudaStream_t stream) {
    rms_norm_cuda({.x = x, .weight = norm_.get(), .out = out, .dim = kDim, .eps = 1e-6F}, 1,
                  stream);
  }
  void spread(cudaStream_t stream) {
    auto* out = reinterpret_cast<BFloat16*>(out_.get());
    spread_heads_cuda({.joint = narrow_row_.get(),
                       .row_stride = kJoint,
                       .q_norm = norm_.get(),
                       .k_norm = norm_.get(),
                       .cosine = tables_.get(),
                       .sine = tables_.get() + kHeadDim,
                       .position = numbers_.get(),
                       .query = out,
                       .key = out + kHeads * kHeadDim,
                       .value = out + (kHeads + kKvHeads) * kHeadDim,
                       .num_tokens = 1,
                       .num_heads = kHeads,
                       .num_kv_heads = kKvHeads,
                       .head_dim = kHeadDim,
                       .eps = 1e-6F},
                      stream);
  }
  void fold(bool is_mean, cudaStream_t stream) {
    fold_queries_cuda({.joint = narrow_row_.get(),
                       .row_stride = kHeads * kHeadDim,
                       .row = numbers_.get(),
                       .out = out_.get(),
                       .num_rows = 1,
                       .num_heads = kHeads,
                       .num_kv_heads = kKvHeads,
                       .head_dim = kHeadDim,
                       .factor = 0.25F,
                       .normalizes = true,
                       .is_mean = is_mean},
                      stream);
  }
  void pool(cudaStream_t stream) {
    PoolPlanesParams params;
    params.plane[0] = {.row = row_.get(), .row_stride = kKvHeads * kHeadDim, .pooled = out_.get()};
    params.num_planes = 1;
    params.type = NumberType::kFloat32;
    params.offsets = offsets_.get();
    params.first_chunk = chunks_.get();
    params.num_documents = 1;
    params.num_chunks = 2;
    params.num_kv_heads = kKvHeads;
    params.head_dim = kHeadDim;
    params.chunk_tokens = 2;
    pool_chunks_cuda(params, stream);
  }
  void attend(cudaStream_t stream) {
    step_attention_cuda({.joint = row_.get(),
                         .q_norm = norm_.get(),
                         .k_norm = norm_.get(),
                         .cosine = tables_.get(),
                         .sine = tables_.get() + kHeadDim,
                         .position = numbers_.get(),
                         .key = cache_.get(),
                         .value = cache_.get() + kRows * kKvHeads * kHeadDim,
                         .num_rows = numbers_.get() + 1,
                         .out = out_.get(),
                         .num_heads = kHeads,
                         .num_kv_heads = kKvHeads,
                         .head_dim = kHeadDim,
                         .scale = 0.125F,
                         .eps = 1e-6F},
                        stream);
  }

  cudaStream_t stream_ = nullptr;
  DeviceArray<float> values_, row_, other_, other_out_, norm_, tables_, out_;
  DeviceArray<BFloat16> narrow_row_, weight_, cache_;
  DeviceArray<int64_t> offsets_, chunks_;
  DeviceArray<int32_t> numbers_;
};

TEST_F(LateRow, IsAwaitedByTheKernelBehindIt) {
  for (const Named& late : late_) {
    const auto wanted = run(late.kernel, true, false);
    bool is_anything = false;
    for (const float value : wanted) is_anything = is_anything || value != 0;
    ASSERT_TRUE(is_anything) << late.name;
    for (int i = 0; i < 3; ++i) {
      const auto got = run(late.kernel, false, false);
      ASSERT_EQ(std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)), 0) << late.name;
    }
  }
}

/// A kernel that lets its dependents go before it has itself waited would let them read too early.
TEST_F(LateRow, IsThereForTheKernelAfterTheNext) {
  for (const Named& late : late_) {
    if (late.name == "step_attention") continue;  // reads a cache that it has changed
    const auto wanted = run(late.kernel, true, true);
    for (int i = 0; i < 3; ++i) {
      const auto got = run(late.kernel, false, true);
      ASSERT_EQ(std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)), 0) << late.name;
    }
  }
}

/// Every kernel in turn is the one between, and a norm reads what is late behind it.
TEST_F(LateRow, IsThereBehindEveryKernelForTheNext) {
  const auto norm = late_[2];
  ASSERT_EQ(norm.name, "rms_norm");
  const auto wanted = run(norm.kernel, true, false);
  for (const Named& between : late_) {
    for (int i = 0; i < 3; ++i) {
      const auto got = run(
          [&](cudaStream_t stream) {
            between.kernel(stream);  // reads it too, and its result is written over
            norm.kernel(stream);
          },
          false, false);
      ASSERT_EQ(std::memcmp(got.data(), wanted.data(), kDim * sizeof(float)), 0) << between.name;
    }
  }
}

}  // namespace
}  // namespace msa::kernels
