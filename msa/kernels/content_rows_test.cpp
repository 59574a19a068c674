#include "msa/kernels/content_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

struct Shape {
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t width() const { return num_kv_heads * head_dim; }
};

/// Whole heads and groups, and rows that end within one.
constexpr Shape kShapes[] = {{8, 128}, {2, 64}, {2, 8}, {1, 1}, {3, 7}, {1, 33}, {5, 20}};

/// Runs on guarded memory: nothing past the end may change.
std::vector<std::byte> quantize(const std::vector<float>& rows, const Shape& shape,
                                ContentType type) {
  const auto num_rows = static_cast<int64_t>(rows.size()) / shape.width();
  const int64_t bytes =
      num_rows * content_layout(type, shape.num_kv_heads, shape.head_dim).row_bytes;
  std::vector<std::byte> out(bytes + 64, std::byte{0x5a});
  quantize_content({.row = rows.data(),
                    .num_rows = num_rows,
                    .num_kv_heads = shape.num_kv_heads,
                    .head_dim = shape.head_dim,
                    .type = type,
                    .out = out.data()});
  EXPECT_TRUE(std::all_of(out.begin() + bytes, out.end(),
                          [](std::byte b) { return b == std::byte{0x5a}; }));
  out.resize(bytes);
  return out;
}

std::vector<float> dequantize(const std::vector<std::byte>& stored, const Shape& shape,
                              ContentType type) {
  const int64_t row_bytes = content_layout(type, shape.num_kv_heads, shape.head_dim).row_bytes;
  const auto num_rows = static_cast<int64_t>(stored.size()) / row_bytes;
  std::vector<float> rows(num_rows * shape.width() + 4, 7777.0F);
  dequantize_content({.row = stored.data(),
                      .num_rows = num_rows,
                      .num_kv_heads = shape.num_kv_heads,
                      .head_dim = shape.head_dim,
                      .type = type,
                      .out = rows.data()});
  for (size_t i = rows.size() - 4; i < rows.size(); ++i) EXPECT_EQ(rows[i], 7777.0F);
  rows.resize(rows.size() - 4);
  return rows;
}

struct Group {
  double scale = 0;
  std::vector<int> integers;

  double squared_error(const float* x) const {
    double sum = 0;
    for (size_t i = 0; i < integers.size(); ++i) {
      const double error = x[i] - integers[i] * scale;
      sum += error * error;
    }
    return sum;
  }
};

/// The groups of a stored row, read as the layout's words say.
std::vector<Group> groups_of(const std::byte* row, const Shape& shape, ContentType type) {
  const ContentLayout layout = content_layout(type, shape.num_kv_heads, shape.head_dim);
  std::vector<Group> groups(layout.num_groups());
  for (int64_t v = 0; v < layout.num_values; ++v) {
    int integer = static_cast<int8_t>(row[type == ContentType::kInt8 ? v : v / 2]);
    if (type == ContentType::kInt4) {
      const int half = (v % 2 == 0 ? integer : integer >> 4) & 15;
      integer = half < 8 ? half : half - 16;
    }
    groups[v / layout.group_values].integers.push_back(integer);
  }
  for (size_t g = 0; g < groups.size(); ++g) {
    BFloat16 scale;
    std::memcpy(&scale, row + layout.scale_offset + 2 * g, sizeof scale);
    groups[g].scale = to_float(scale);
  }
  return groups;
}

/// `x` with the scale that a divisor gives, by float64 arithmetic.
Group int4_group(const float* x, size_t count, float divisor) {
  float largest = 0;
  for (size_t i = 0; i < count; ++i) {
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  Group group{.scale = to_float(to_bfloat16(largest / divisor)), .integers = {}};
  for (size_t i = 0; i < count; ++i) {
    const double nearest = std::nearbyint(static_cast<double>(x[i]) / group.scale);
    group.integers.push_back(static_cast<int>(std::clamp(nearest, -8.0, 7.0)));
  }
  return group;
}

TEST(ContentRows, QuantisedRowsAreWholeSixteenBytes) {
  EXPECT_EQ(content_layout(ContentType::kFloat32, 8, 128).row_bytes, 4096);
  EXPECT_EQ(content_layout(ContentType::kBFloat16, 8, 128).row_bytes, 2048);
  EXPECT_EQ(content_layout(ContentType::kInt8, 8, 128).row_bytes, 1024 + 16);
  EXPECT_EQ(content_layout(ContentType::kInt4, 8, 128).row_bytes, 512 + 64);
  EXPECT_EQ(content_layout(ContentType::kInt8, 3, 7).row_bytes, 32 + 16);
  EXPECT_EQ(content_layout(ContentType::kInt4, 3, 7).row_bytes, 16 + 16);
  EXPECT_EQ(content_layout(ContentType::kInt4, 1, 33).num_groups(), 2);
}

TEST(ContentRows, Int8ErrsByHalfAStepAtMostAndItsStepIsTheSmallest) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    uint32_t seed = 300;
    for (const Shape& shape : kShapes) {
      const auto rows = random_floats(9 * shape.width(), ++seed, 3);
      const auto stored = quantize(rows, shape, ContentType::kInt8);
      const auto row_bytes = static_cast<int64_t>(stored.size()) / 9;
      const float* x = rows.data();
      for (int64_t n = 0; n < 9; ++n) {
        for (const Group& group :
             groups_of(stored.data() + n * row_bytes, shape, ContentType::kInt8)) {
          double largest = 0;
          for (const int integer : group.integers) {
            EXPECT_GE(integer, -127);
            EXPECT_LE(integer, 127);
            EXPECT_NEAR(integer * group.scale, *x, group.scale * 0.5000001);
            largest = std::max(largest, std::fabs(static_cast<double>(*x++)));
          }
          // The next smaller bfloat16 is 1/128 to 1/256 less.
          EXPECT_GE(group.scale * 127, largest * (1 - 1e-7));
          EXPECT_LT(group.scale * (1 - 1.0 / 128) * 127, largest);
        }
      }
    }
  });
}

TEST(ContentRows, Int4TakesTheBestOfItsScalesAndTheNearestIntegers) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    uint32_t seed = 320;
    std::vector<int> num_chosen(4);
    for (const Shape& shape : kShapes) {
      const auto rows = random_floats(40 * shape.width(), ++seed, 0.02F);
      const auto stored = quantize(rows, shape, ContentType::kInt4);
      const auto row_bytes = static_cast<int64_t>(stored.size()) / 40;
      const float* x = rows.data();
      for (int64_t n = 0; n < 40; ++n) {
        for (const Group& group :
             groups_of(stored.data() + n * row_bytes, shape, ContentType::kInt4)) {
          const size_t count = group.integers.size();
          double least = std::numeric_limits<double>::infinity();
          size_t best = 0;
          const float divisors[] = {-8.0F, -8.5F, -7.5F, -9.0F};
          for (size_t d = 0; d < 4; ++d) {
            const double error = int4_group(x, count, divisors[d]).squared_error(x);
            if (error < least) best = d;
            least = std::min(least, error);
          }
          ++num_chosen[best];
          // Where float32 decides otherwise than float64, the two are all but equal.
          EXPECT_LE(group.squared_error(x), least * (1 + 1e-5) + 1e-30);
          const Group wanted = int4_group(x, count, divisors[best]);
          if (group.scale == wanted.scale) {
            for (size_t i = 0; i < count; ++i) {
              const double place = x[i] / group.scale;
              const bool is_tie = std::fabs(std::fabs(place - std::trunc(place)) - 0.5) < 1e-5;
              if (is_tie) continue;
              EXPECT_EQ(group.integers[i], wanted.integers[i]);
            }
          }
          x += count;
        }
      }
    }
    for (const int chosen : num_chosen) EXPECT_GT(chosen, 0);
  });
}

TEST(ContentRows, EveryLevelWritesTheSameBytes) {
  for (const ContentType type : {ContentType::kBFloat16, ContentType::kInt8, ContentType::kInt4}) {
    for (const Shape& shape : kShapes) {
      const auto rows = random_floats(64 * shape.width(), 340, 5);
      const auto wanted = quantize(rows, shape, type);
      const auto values = dequantize(wanted, shape, type);
      on_every_level([&](const char* level) {
        EXPECT_EQ(quantize(rows, shape, type), wanted) << level << ", " << name_of(type);
        EXPECT_EQ(dequantize(wanted, shape, type), values) << level << ", " << name_of(type);
      });
    }
  }
}

TEST(ContentRows, DequantisingIsExact) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    for (const ContentType type : {ContentType::kInt8, ContentType::kInt4}) {
      for (const Shape& shape : kShapes) {
        const auto stored = quantize(random_floats(16 * shape.width(), 350), shape, type);
        const auto values = dequantize(stored, shape, type);
        const auto row_bytes = static_cast<int64_t>(stored.size()) / 16;
        const float* value = values.data();
        for (int64_t n = 0; n < 16; ++n) {
          for (const Group& group : groups_of(stored.data() + n * row_bytes, shape, type)) {
            for (const int integer : group.integers) {
              EXPECT_EQ(static_cast<double>(*value++), integer * group.scale);
            }
          }
        }
      }
    }
  });
}

TEST(ContentRows, PlainNumbersAreCopiedAndRounded) {
  const Shape shape{2, 8};
  const auto rows = random_floats(3 * shape.width(), 360);
  EXPECT_EQ(dequantize(quantize(rows, shape, ContentType::kFloat32), shape, ContentType::kFloat32),
            rows);
  EXPECT_EQ(
      dequantize(quantize(rows, shape, ContentType::kBFloat16), shape, ContentType::kBFloat16),
      widened(rounded(rows)));
}

TEST(ContentRows, ZerosAndTheSmallestAndLargestNumbersStayFinite) {
  on_every_level([](const char* level) {
    SCOPED_TRACE(level);
    const Shape shape{1, 32};
    for (const float size : {0.0F, 1e-45F, 1e-40F, 1e-38F, 1e-30F, 9e37F}) {
      std::vector<float> rows(shape.width(), -size);
      rows[0] = size;
      rows[1] = 0;
      for (const ContentType type : {ContentType::kInt8, ContentType::kInt4}) {
        const auto values = dequantize(quantize(rows, shape, type), shape, type);
        // The smallest scale is 2^-133.
        const double step = type == ContentType::kInt8 ? size / 127.0 : size / 7.0;
        for (size_t i = 0; i < values.size(); ++i) {
          EXPECT_NEAR(values[i], rows[i], step + 0x1p-130) << name_of(type) << " " << size;
        }
      }
    }
  });
}

TEST(ContentRows, AGroupOfOneSignUsesAllSixteenIntegers) {
  // The largest value is -8 times a negative scale.
  const Shape shape{1, 32};
  std::vector<float> rows(shape.width(), 0.0F);
  for (int i = 0; i < 9; ++i) rows[i] = static_cast<float>(8 - i);
  rows[10] = -7;
  const auto stored = quantize(rows, shape, ContentType::kInt4);
  EXPECT_EQ(groups_of(stored.data(), shape, ContentType::kInt4).front().scale, -1.0);
  EXPECT_EQ(dequantize(stored, shape, ContentType::kInt4), rows);
}

}  // namespace
}  // namespace msa::kernels
