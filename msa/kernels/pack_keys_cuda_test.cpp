#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/rotation.cuh"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

/// As rotation.cuh has it, in double precision.
std::vector<double> rotated(std::vector<double> row) {
  const auto dim = static_cast<int64_t>(row.size());
  const int64_t run = rotation_run(dim);
  for (int round = 0; round < rotation_rounds(dim); ++round) {
    double* part = row.data() + (round % 2 == 0 ? 0 : dim - run);
    for (int64_t i = 0; i < run; ++i) {
      part[i] *= rotation_sign(round, i) / std::sqrt(static_cast<double>(run));
    }
    for (int64_t stride = 1; stride < run; stride *= 2) {
      for (int64_t i = 0; i < run; ++i) {
        if ((i & stride) != 0) continue;
        const double left = part[i];
        part[i] = left + part[i + stride];
        part[i + stride] = left - part[i + stride];
      }
    }
  }
  return row;
}

double product(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The cosine between a row and its nibbles at the best of all steps, tried finely.
double best_cosine(const std::vector<double>& row) {
  double largest = 0;
  for (const double value : row) largest = std::max(largest, std::abs(value));
  double best = 0;
  for (double share = 0.3; share <= 1; share += 0.01) {
    std::vector<double> nibbles;
    for (const double value : row) {
      nibbles.push_back(std::clamp(std::nearbyint(value * 7 / (share * largest)), -8.0, 7.0));
    }
    best = std::max(
        best, product(row, nibbles) / std::sqrt(product(row, row) * product(nibbles, nibbles)));
  }
  return best;
}

TEST(Rotation, ChangesNoScore) {
  for (const int64_t dim : {128, 384, 1024, 1152}) {
    const auto floats = random_floats(2 * dim, 60);
    const std::vector<double> a(floats.begin(), floats.begin() + dim);
    const std::vector<double> b(floats.begin() + dim, floats.end());
    EXPECT_NEAR(product(rotated(a), rotated(b)), product(a, b), 1e-4);
  }
}

class PackKeysCuda : public testing::TestWithParam<NumberType> {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
  }

  static void expect_packed(const std::vector<float>& keys, int64_t dim) {
    const auto num_chunks = static_cast<int64_t>(keys.size()) / dim;
    std::vector<std::byte> stored(keys.size() * bytes_of(GetParam()));
    std::vector<float> key_scale(num_chunks, 1);
    quantize_rows({.row = keys.data(),
                   .num_rows = num_chunks,
                   .dim = dim,
                   .type = GetParam(),
                   .out = stored.data(),
                   .scale = key_scale.data()});
    const auto device_key = to_device(stored);
    const auto device_key_scale = to_device(key_scale);
    const auto num_bytes = static_cast<size_t>(packed_key_bytes(num_chunks, dim));
    constexpr size_t kGuard = 64;
    const auto value = to_device(std::vector<std::byte>(num_bytes + kGuard, std::byte{0x5a}));
    const auto scale = to_device(std::vector<float>(num_chunks, -1));
    const auto longest = to_device(std::vector<float>{1e-3F});
    pack_keys_cuda({.key_type = GetParam(),
                    .key = device_key.get(),
                    .key_scale = device_key_scale.get(),
                    .num_chunks = num_chunks,
                    .key_dim = dim,
                    .value = value.get(),
                    .scale = scale.get(),
                    .longest = longest.get()},
                   nullptr);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    const auto bytes = to_host(value, num_bytes + kGuard);
    const auto scales = to_host(scale, num_chunks);
    const float found = to_host(longest, 1)[0];
    for (size_t i = num_bytes; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], std::byte{0x5a});

    double length = 0;
    for (int64_t c = 0; c < num_chunks; ++c) {
      std::vector<double> key(packed_dim(dim));
      for (int64_t i = 0; i < dim; ++i) {
        key[i] =
            GetParam() == NumberType::kBFloat16
                ? to_float(reinterpret_cast<const BFloat16*>(stored.data())[c * dim + i])
                : static_cast<double>(reinterpret_cast<const int8_t*>(stored.data())[c * dim + i]) *
                      key_scale[c];
      }
      const std::vector<double> row = rotated(key);
      std::vector<double> nibbles;
      for (int64_t i = 0; i < packed_dim(dim); ++i) {
        nibbles.push_back(nibble_at(bytes, c, i, packed_dim(dim)));
      }
      const double squares = product(row, row);
      if (squares < 1e-58) {
        ASSERT_EQ(scales[c], 0.0F) << "chunk " << c;
        ASSERT_EQ(product(nibbles, nibbles), 0.0);
        continue;
      }
      const double cosine = product(row, nibbles) / std::sqrt(squares * product(nibbles, nibbles));
      ASSERT_GE(cosine, best_cosine(row) - 1e-3) << "chunk " << c;
      ASSERT_NEAR(scales[c] * product(row, nibbles), squares, 5e-5 * squares) << "chunk " << c;
      const double scale = squares / product(row, nibbles);
      std::vector<double> missed = row;
      for (size_t i = 0; i < missed.size(); ++i) missed[i] -= scale * nibbles[i];
      const double error = std::sqrt(product(missed, missed)) / scale;
      const double unit = kErrorShare * std::sqrt(static_cast<double>(packed_dim(dim)));
      const double said = unit * (std::bit_cast<uint32_t>(scales[c]) & kErrorBits);
      ASSERT_GE(said, error) << "chunk " << c;
      ASSERT_LE(said, 1.001 * error + 1.01 * unit) << "chunk " << c;
      length = std::max(length, std::sqrt(squares) / scales[c]);
    }
    EXPECT_GE(found, length);
    EXPECT_LE(found, 1.001 * length + 1e-3);
  }

  /// Value `i` of chunk `c`, as the header says.
  static int nibble_at(const std::vector<std::byte>& bytes, int64_t c, int64_t i, int64_t dim) {
    const int64_t segments = dim / kSegmentValues;
    const int64_t segment = c / kBandChunks * segments + i / kSegmentValues;
    const int64_t within = i % kSegmentValues;
    const int64_t byte = within / 4 % 4 * 16 + within / 32 * 4 + within % 4;
    const auto both =
        static_cast<int>(bytes[(segment * kBandChunks + c % kBandChunks) * kSegmentBytes + byte]);
    const int nibble = within / 16 % 2 == 0 ? both & 15 : both >> 4;
    return nibble < 8 ? nibble : nibble - 16;
  }
};

TEST_P(PackKeysCuda, RandomKeysOfManyLengthsKeepTheirDirection) {
  uint32_t seed = 1;
  for (const int64_t dim : {8, 16, 80, 128, 200, 256, 384, 640, 1024, 2048, 4096}) {
    SCOPED_TRACE(testing::Message() << "dim " << dim << " seed " << seed);
    expect_packed(random_floats(131 * dim, seed++), dim);
  }
}

TEST_P(PackKeysCuda, EmptyTinyAndHugeKeysAndSpikesKeepTheirDirection) {
  constexpr int64_t kDim = 256;
  auto keys = random_floats(60 * kDim, 50);
  for (int64_t c = 0; c < 60; ++c) {
    const double factor = c % 6 == 0   ? 0
                          : c % 6 == 1 ? std::pow(10, -static_cast<double>(c) / 2)
                          : c % 6 == 2 ? std::pow(10, static_cast<double>(c) / 2)
                                       : 1;
    for (int64_t i = 0; i < kDim; ++i) {
      float& value = keys[c * kDim + i];
      value = static_cast<float>(value * factor);
      if (c % 6 == 4) value = i == c ? 2.0F : 0.0F;
      if (c % 6 == 5 && i == c) value = 100;
    }
  }
  expect_packed(keys, kDim);
}

TEST_P(PackKeysCuda, ShapesOutsideTheRangesAreRefused) {
  EXPECT_THROW(pack_keys_cuda({.key_type = NumberType::kFloat32, .key_dim = 64}, nullptr), Error);
  EXPECT_THROW(pack_keys_cuda({.key_type = GetParam(), .key_dim = 0}, nullptr), Error);
  EXPECT_THROW(pack_keys_cuda({.key_type = GetParam(), .key_dim = kMostPackedDim + 1}, nullptr),
               Error);
  pack_keys_cuda({.key_type = GetParam(), .num_chunks = 0, .key_dim = 64}, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Types, PackKeysCuda,
                         testing::Values(NumberType::kBFloat16, NumberType::kInt8),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace msa::kernels
