#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/route_batch_parts.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Shape {
  int64_t num_chunks;
  int64_t key_dim;
  std::vector<int> question_tokens;
};

/// Packed keys and rounded queries of all values that they may have, and their scores by plain
/// double loops.
class Case {
 public:
  Case(Shape shape, uint32_t seed) : shape_(std::move(shape)), random_(seed) {
    for (size_t b = 0; b < shape_.question_tokens.size(); ++b) {
      owner_.insert(owner_.end(), (shape_.question_tokens[b] + kTokenStep - 1) / kTokenStep,
                    static_cast<int32_t>(b));
    }
    packed_.resize(packed_key_bytes(num_chunks(), dim()));
    for (std::byte& byte : packed_) byte = static_cast<std::byte>(random_() & 255);
    query_.resize(num_tokens() * dim());
    for (int8_t& value : query_) value = static_cast<int8_t>(random_() % 255 - 127);
    key_scale_ = random_scales(num_chunks());
    token_scale_ = random_scales(num_tokens());
  }

  void expect_scores_as_in_double() const {
    const auto device_packed = to_device(packed_);
    const auto device_key_scale = to_device(key_scale_);
    const auto device_query = to_device(query_);
    const auto device_token_scale = to_device(token_scale_);
    const auto device_owner = to_device(owner_);
    const auto count = static_cast<size_t>(num_questions() * num_chunks());
    const auto device_score = to_device(std::vector<uint32_t>(count, 0xffffffffU));
    const auto device_num_taken = to_device(std::vector<uint32_t>(owner_.size()));
    RouteBatchParams params;
    params.packed.value = device_packed.get();
    params.packed.scale = device_key_scale.get();
    params.num_questions = num_questions();
    params.num_chunks = num_chunks();
    params.key_dim = dim();
    RouteBatchSpace space;
    space.query = reinterpret_cast<uint8_t*>(device_query.get());
    space.token_scale = device_token_scale.get();
    space.block_owner = device_owner.get();
    space.chunk_score = device_score.get();
    space.num_taken = device_num_taken.get();
    space.query_row_bytes = dim();
    space.num_tokens = num_tokens();
    scan_packed_keys(params, space, nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto score = to_host(device_score, count);

    std::vector<double> best(count, -1e300);
    std::vector<int> key(dim());
    for (int64_t c = 0; c < num_chunks(); ++c) {
      for (int64_t i = 0; i < dim(); ++i) key[i] = nibble_at(c, i);
      for (int64_t t = 0; t < num_tokens(); ++t) {
        int64_t dot = 0;
        for (int64_t i = 0; i < dim(); ++i) dot += key[i] * query_[t * dim() + i];
        // The scan multiplies 16 times each nibble.
        const double value = 16.0 * static_cast<double>(dot) * key_scale_[c] * token_scale_[t];
        double& of_chunk = best[owner_[t / kTokenStep] * num_chunks() + c];
        of_chunk = std::max(of_chunk, value);
      }
    }
    for (size_t i = 0; i < count; ++i) {
      const uint32_t bits = (score[i] & 0x80000000U) != 0 ? score[i] & 0x7fffffffU : ~score[i];
      ASSERT_NEAR(std::bit_cast<float>(bits), best[i], 1e-6 * (1 + std::abs(best[i])))
          << "at " << i;
    }
  }

 private:
  int64_t num_chunks() const { return shape_.num_chunks; }
  int64_t num_tokens() const { return static_cast<int64_t>(owner_.size()) * kTokenStep; }
  int64_t num_questions() const { return static_cast<int64_t>(shape_.question_tokens.size()); }
  int64_t dim() const { return packed_dim(shape_.key_dim); }

  std::vector<float> random_scales(int64_t count) {
    std::vector<float> scales(count);
    for (float& scale : scales) scale = 1e-3F * static_cast<float>(1 + random_() % 1000);
    return scales;
  }

  /// Value `i` of chunk `c`, as pack_keys.h says.
  int nibble_at(int64_t c, int64_t i) const {
    const int64_t segment = c / kBandChunks * (dim() / kSegmentValues) + i / kSegmentValues;
    const int64_t within = i % kSegmentValues;
    const int64_t byte = within / 4 % 4 * 16 + within / 32 * 4 + within % 4;
    const auto both =
        static_cast<int>(packed_[(segment * kBandChunks + c % kBandChunks) * kSegmentBytes + byte]);
    const int nibble = within / 16 % 2 == 0 ? both & 15 : both >> 4;
    return nibble < 8 ? nibble : nibble - 16;
  }

  Shape shape_;
  std::mt19937 random_;
  std::vector<int32_t> owner_;
  std::vector<std::byte> packed_;
  std::vector<int8_t> query_;
  std::vector<float> key_scale_;
  std::vector<float> token_scale_;
};

class RouteScanPackedCuda : public testing::Test {
 protected:
  void SetUp() override {
    int major = 0;
    if (!has_device() ||
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) != cudaSuccess ||
        major != 9) {
      GTEST_SKIP() << "no Hopper GPU";
    }
  }
};

TEST_F(RouteScanPackedCuda, ScoresEveryChunkAsInDoublePrecision) {
  const std::vector<Shape> shapes = {
      {1, 128, {1}},
      {300, 1024, {48}},
      {300, 1024, {48, 48, 48, 48, 48, 48, 48, 48}},
      {700, 100, {300}},  // a question of several passes
      {513, 128, {7, 193, 64, 1, 30, 2, 5, 100}},
      {255, 384, {1, 130, 126, 8}},  // a question that begins with a pass
      {200, 2048, {100}},
      {130, 4096, {60}},
      {70'000, 128, {9, 40}},  // several bands for each group
  };
  uint32_t seed = 100;
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << shape.num_chunks << " chunks of " << shape.key_dim);
    Case(shape, seed++).expect_scores_as_in_double();
  }
}

TEST_F(RouteScanPackedCuda, AllWidthsScoreAsInDoublePrecision) {
  for (int tokens = 8; tokens <= 272; tokens += 24) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens");
    Case({270, 256, {tokens - 4, 3}}, tokens).expect_scores_as_in_double();
  }
}

}  // namespace
}  // namespace msa::kernels
