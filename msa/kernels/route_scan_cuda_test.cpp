#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_scan_tiles.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

using Scan = void (*)(const RouteBatchParams&, const RouteBatchSpace&, CudaStream);

struct Shape {
  int64_t num_chunks;
  int64_t key_dim;
  std::vector<int> question_tokens;
};

/// Rows rounded as a memory's keys, each filled with zeros up to `row_bytes`.
struct Rows {
  Rows(NumberType type, int64_t num_rows, int64_t dim, int64_t row_bytes, uint32_t seed)
      : bytes(num_rows * row_bytes), scale(num_rows, 1), values(num_rows * dim) {
    const auto floats = random_floats(num_rows * dim, seed);
    std::vector<std::byte> tight(num_rows * dim * bytes_of(type));
    quantize_rows({.row = floats.data(),
                   .num_rows = num_rows,
                   .dim = dim,
                   .type = type,
                   .out = tight.data(),
                   .scale = scale.data()});
    for (int64_t i = 0; i < num_rows * dim; ++i) {
      values[i] = type == NumberType::kBFloat16
                      ? to_float(reinterpret_cast<const BFloat16*>(tight.data())[i])
                      : static_cast<float>(reinterpret_cast<const int8_t*>(tight.data())[i]);
    }
    const int64_t tight_bytes = dim * bytes_of(type);
    for (int64_t i = 0; i < num_rows; ++i) {
      std::copy_n(tight.data() + i * tight_bytes, tight_bytes, bytes.data() + i * row_bytes);
    }
  }

  std::vector<std::byte> bytes;
  std::vector<float> scale;   // [num_rows], 1 unless int8
  std::vector<float> values;  // [num_rows, dim], to be multiplied by scale
};

/// The scores of a scan, and those of plain double loops over the same rounded values.
class Case {
 public:
  Case(NumberType type, const Shape& shape) : type_(type), shape_(shape) {
    for (size_t b = 0; b < shape.question_tokens.size(); ++b) {
      owner_.insert(owner_.end(), (shape.question_tokens[b] + kTokenStep - 1) / kTokenStep,
                    static_cast<int32_t>(b));
    }
  }

  void expect_scores_as_in_double(Scan scan, uint32_t seed) const {
    const auto num_questions = static_cast<int64_t>(shape_.question_tokens.size());
    const auto num_tokens = static_cast<int64_t>(owner_.size()) * kTokenStep;
    const int64_t key_bytes = shape_.key_dim * bytes_of(type_);
    const int64_t query_bytes = (key_bytes + 127) / 128 * 128;
    const Rows keys(type_, shape_.num_chunks, shape_.key_dim, key_bytes, seed + 1);
    const Rows queries(type_, num_tokens, shape_.key_dim, query_bytes, seed + 2);

    const auto device_key = to_device(keys.bytes);
    const auto device_key_scale = to_device(keys.scale);
    const auto device_query = to_device(queries.bytes);
    const auto device_token_scale = to_device(queries.scale);
    const auto device_owner = to_device(owner_);
    const auto count = static_cast<size_t>(num_questions * shape_.num_chunks);
    const auto device_score = to_device(std::vector<uint32_t>(count));
    const auto device_num_taken = to_device(std::vector<uint32_t>(owner_.size()));
    RouteBatchParams params;
    params.key_type = type_;
    params.key = device_key.get();
    params.key_scale = device_key_scale.get();
    params.num_questions = num_questions;
    params.num_chunks = shape_.num_chunks;
    params.key_dim = shape_.key_dim;
    RouteBatchSpace space;
    space.query = reinterpret_cast<uint8_t*>(device_query.get());
    space.token_scale = device_token_scale.get();
    space.block_owner = device_owner.get();
    space.chunk_score = device_score.get();
    space.num_taken = device_num_taken.get();
    space.query_row_bytes = query_bytes;
    space.num_tokens = num_tokens;
    scan(params, space, nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto got = to_host(device_score, count);

    std::vector<double> wanted(count, -1e300);
    for (int64_t c = 0; c < shape_.num_chunks; ++c) {
      for (int64_t t = 0; t < num_tokens; ++t) {
        double dot = 0;
        for (int64_t i = 0; i < shape_.key_dim; ++i) {
          dot += static_cast<double>(keys.values[c * shape_.key_dim + i]) *
                 queries.values[t * shape_.key_dim + i];
        }
        double& best = wanted[owner_[t / kTokenStep] * shape_.num_chunks + c];
        best = std::max(best, dot * keys.scale[c] * queries.scale[t]);
      }
    }
    for (size_t i = 0; i < count; ++i) {
      ASSERT_NE(got[i], 0U) << "at " << i;
      const uint32_t bits = (got[i] & 0x80000000U) != 0 ? got[i] & 0x7fffffffU : ~got[i];
      const double size = std::sqrt(static_cast<double>(shape_.key_dim));
      ASSERT_NEAR(std::bit_cast<float>(bits), wanted[i], 1e-4 * size) << "at " << i;
    }
  }

 private:
  NumberType type_;
  Shape shape_;
  std::vector<int32_t> owner_;
};

const std::vector<Shape> kShapes = {
    {1, 64, {1}},
    {300, 1024, {48}},
    {300, 1024, {48, 48, 48, 48, 48, 48, 48, 48}},
    {700, 80, {300}},
    {513, 16, {7, 193, 64, 1, 30, 2, 5, 100}},
    {256, 144, {600}},
    {255, 272, {1, 130}},
    {40'000, 16, {9, 40}},   // several tiles of keys for each multiprocessor
    {36'000, 16, {5, 300}},  // and tiles of tokens
};

class RouteScanCuda : public testing::TestWithParam<NumberType> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
  }

  static void expect_all(const std::vector<Shape>& shapes, Scan scan) {
    uint32_t seed = 100;
    for (const Shape& shape : shapes) {
      SCOPED_TRACE(testing::Message() << shape.num_chunks << " chunks of " << shape.key_dim);
      Case(GetParam(), shape).expect_scores_as_in_double(scan, seed);
      seed += 10;
    }
  }
};

TEST_P(RouteScanCuda, TilesScoreEveryChunkAsInDoublePrecision) {
  if (!can_scan_keys_in_tiles()) GTEST_SKIP() << "no Hopper GPU";
  expect_all(kShapes, scan_keys_in_tiles);
}

TEST_P(RouteScanCuda, BandsScoreEveryChunkAsInDoublePrecision) {
  if (!can_scan_keys_in_tiles()) GTEST_SKIP() << "no Hopper GPU";
  const std::vector<Shape> shapes = {
      {1, 64, {1}},        {300, 1024, {48}}, {513, 16, {7, 64, 1, 30, 2}}, {256, 144, {128}},
      {255, 272, {1, 60}}, {700, 80, {96}},   {70'000, 16, {9, 40}},  // several bands for each
                                                                      // group
  };
  expect_all(shapes, scan_keys_in_bands);
}

TEST_P(RouteScanCuda, PassesScoreEveryChunkAsInDoublePrecision) {
  expect_all(kShapes, scan_keys_in_passes);
}

TEST_P(RouteScanCuda, WidthsOfTilesScoreEveryChunkAsInDoublePrecision) {
  if (!can_scan_keys_in_tiles()) GTEST_SKIP() << "no Hopper GPU";
  for (int tokens = 8; tokens <= 400; tokens += 8) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens");
    Case(GetParam(), {270, 64, {tokens - 4, 3}})
        .expect_scores_as_in_double(scan_keys_in_tiles, tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, RouteScanCuda,
                         testing::Values(NumberType::kBFloat16, NumberType::kInt8),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace msa::kernels
