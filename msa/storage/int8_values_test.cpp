#include "msa/storage/int8_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"

namespace msa::storage {
namespace {

class Int8Values : public testing::Test {
 protected:
  Int8Values() { std::filesystem::remove(path_); }
  ~Int8Values() override { std::filesystem::remove(path_); }

  std::unique_ptr<SafetensorsFile> stored(const std::vector<TensorToWrite>& tensors) const {
    write_safetensors(real_file_system(), path_, tensors);
    return SafetensorsFile::open(real_file_system(), path_);
  }

  template <typename Value>
  static TensorToWrite tensor(const char* name, DataType type, std::vector<int64_t> shape,
                              const std::vector<Value>& values) {
    return {name, type, std::move(shape), std::as_bytes(std::span(values))};
  }

  template <typename Value, typename Write>
  static std::vector<Value> written(const Write& write) {
    std::vector<Value> values;
    write([&](std::span<const std::byte> bytes) {
      const size_t before = values.size();
      values.resize(before + bytes.size() / sizeof(Value));
      std::memcpy(values.data() + before, bytes.data(), bytes.size());
    });
    return values;
  }

 private:
  const std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) / "msa_int8_values.safetensors";
};

constexpr int64_t kRows = 5000;
constexpr int64_t kColumns = 517;  // some pieces, which end within rows
constexpr int64_t kCount = kRows * kColumns;

std::vector<float> random_values() {
  std::vector<float> values(size_t{kCount});
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  return values;
}

TEST_F(Int8Values, ManyRowsAreThoseOfThePlainLoopAndReadBackWithinHalfAScale) {
  const auto values = random_values();
  const auto file = stored({tensor("a", DataType::kF32, {kRows, kColumns}, values)});
  const StoredTensor matrix{.file = file.get(), .name = "a"};
  EXPECT_EQ(int8_scale_type(matrix), DataType::kBF16);
  const ValueRange all{.first = 0, .count = kCount};
  const auto scales =
      written<uint16_t>([&](const Append& append) { append_int8_scales(matrix, all, append); });
  const auto integers =
      written<int8_t>([&](const Append& append) { append_int8(matrix, all, append); });
  ASSERT_EQ(scales.size(), size_t{kRows});
  ASSERT_EQ(integers.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const double scale = to_float(BFloat16{scales[i / kColumns]});
    ASSERT_EQ(integers[i], std::nearbyint(values[i] / scale)) << i;
    ASSERT_LE(std::fabs(values[i] - integers[i] * scale), scale / 2) << i;
  }
  // A part is that part.
  const ValueRange part{.first = 3 * kColumns, .count = kCount - 4 * kColumns};
  const auto inner =
      written<int8_t>([&](const Append& append) { append_int8(matrix, part, append); });
  EXPECT_TRUE(std::equal(inner.begin(), inner.end(), integers.begin() + part.first));
  EXPECT_EQ(inner.size(), static_cast<size_t>(part.count));
  EXPECT_THROW(append_int8(matrix, {.first = 1, .count = kColumns}, [](auto) {}), Error);
  EXPECT_THROW(append_int8_scales(matrix, {.first = 0, .count = 5}, [](auto) {}), Error);
}

TEST_F(Int8Values, NumbersOfInt8AreProductsAlsoWhereAPartBeginsAndEndsWithinARow) {
  std::vector<int8_t> integers(size_t{kCount});
  std::vector<float> scales(size_t{kRows});
  std::mt19937 random(9);
  for (int8_t& value : integers) value = static_cast<int8_t>(random() & 0xffU);
  for (float& scale : scales) scale = static_cast<float>(random() % 1000) * 0x1.234p-20F;
  const auto file = stored({tensor("a_scale", DataType::kF32, {kRows, 1}, scales),
                            tensor("a", DataType::kI8, {kRows, kColumns}, integers)});
  const StoredTensor matrix{.file = file.get(), .name = "a", .scale_file = file.get()};
  const ValueRange part{.first = kColumns + 13, .count = kCount - 3 * kColumns};
  const auto wide = written<float>(
      [&](const Append& append) { append_values(matrix, part, DataType::kF32, append); });
  const auto narrow = written<uint16_t>(
      [&](const Append& append) { append_values(matrix, part, DataType::kBF16, append); });
  ASSERT_EQ(wide.size(), static_cast<size_t>(part.count));
  for (size_t i = 0; i < wide.size(); ++i) {
    const size_t place = i + static_cast<size_t>(part.first);
    const double product = double{scales[place / kColumns]} * integers[place];
    ASSERT_EQ(wide[i], static_cast<float>(product)) << i;
    ASSERT_EQ(narrow[i], to_bfloat16(wide[i]).bits) << i;
  }
  // int8 stays as it is.
  const ValueRange all{.first = 0, .count = kCount};
  EXPECT_EQ(int8_scale_type(matrix), DataType::kF32);
  EXPECT_EQ(written<float>([&](const Append& append) { append_int8_scales(matrix, all, append); }),
            scales);
  EXPECT_EQ(written<int8_t>([&](const Append& append) { append_int8(matrix, all, append); }),
            integers);
  EXPECT_THROW(append_values(matrix, part, DataType::kI8, [](auto) {}), Error);
}

TEST_F(Int8Values, AScaleThatIsNegativeOrNotFiniteAndAProductThatIsNotAreRefused) {
  const std::vector<int8_t> integers(6, 127);
  const auto message = [&](float scale) -> std::string {
    const std::vector<float> scales{1, scale};
    const auto file = stored({tensor("a_scale", DataType::kF32, {2, 1}, scales),
                              tensor("a", DataType::kI8, {2, 3}, integers)});
    const StoredTensor matrix{.file = file.get(), .name = "a", .scale_file = file.get()};
    try {
      append_values(matrix, {.first = 0, .count = 6}, DataType::kF32, [](auto) {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      return error.what();
    }
    return {};
  };
  EXPECT_EQ(message(0), "");
  EXPECT_NE(message(-0x1p-40F).find("\"a_scale\" holds a scale that is negative"),
            std::string::npos);
  EXPECT_NE(message(INFINITY).find("\"a_scale\" holds a value that is not finite"),
            std::string::npos);
  EXPECT_NE(message(NAN).find("\"a_scale\" holds a value that is not finite"), std::string::npos);
  EXPECT_NE(message(3e37F).find("\"a\" holds a value that is not finite as F32"),
            std::string::npos);
}

}  // namespace
}  // namespace msa::storage
