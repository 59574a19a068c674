#include "msa/storage/stored_values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <vector>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"

namespace msa::storage {
namespace {

class StoredValues : public testing::Test {
 protected:
  StoredValues() { std::filesystem::remove(path_); }
  ~StoredValues() override { std::filesystem::remove(path_); }

  /// A file whose tensor "a" has these bits.
  template <typename Bits>
  std::unique_ptr<SafetensorsFile> stored(DataType type, const std::vector<Bits>& bits) const {
    const TensorToWrite tensors[] = {
        {"before", DataType::kU8, {8}, std::as_bytes(std::span("12345678").first(8))},
        {"a", type, {static_cast<int64_t>(bits.size())}, std::as_bytes(std::span(bits))}};
    write_safetensors(real_file_system(), path_, tensors);
    return SafetensorsFile::open(real_file_system(), path_);
  }

  template <typename Bits>
  static std::vector<Bits> values(const SafetensorsFile& file, ValueRange range, DataType type) {
    std::vector<Bits> result;
    append_values({.file = &file, .name = "a"}, range, type, [&](std::span<const std::byte> bytes) {
      const size_t before = result.size();
      result.resize(before + bytes.size() / sizeof(Bits));
      std::memcpy(result.data() + before, bytes.data(), bytes.size());
    });
    return result;
  }

 private:
  const std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) / "msa_stored_values.safetensors";
};

/// float16 by its definition.
double value_of_float16(uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const int fraction = bits & 0x3ff;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST_F(StoredValues, EveryFloat16WidensExactlyAndRoundsToTheNearestBFloat16) {
  std::vector<uint16_t> all;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7c00U) != 0x7c00U) all.push_back(static_cast<uint16_t>(bits));
  }
  const auto file = stored(DataType::kF16, all);
  const ValueRange whole{.first = 0, .count = static_cast<int64_t>(all.size())};
  const auto wide = values<float>(*file, whole, DataType::kF32);
  const auto rounded = values<uint16_t>(*file, whole, DataType::kBF16);
  ASSERT_EQ(wide.size(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(static_cast<double>(wide[i]), value_of_float16(all[i])) << all[i];
    ASSERT_EQ(std::signbit(wide[i]), (all[i] & 0x8000) != 0) << all[i];
    ASSERT_EQ(rounded[i], to_bfloat16(wide[i]).bits);
  }
  EXPECT_EQ(values<uint16_t>(*file, whole, DataType::kF16), all);
}

TEST_F(StoredValues, BFloat16SurvivesFloat32AndFloat32IsRoundedToEven) {
  std::vector<uint16_t> all;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7f80U) != 0x7f80U) all.push_back(static_cast<uint16_t>(bits));
  }
  const ValueRange whole{.first = 0, .count = static_cast<int64_t>(all.size())};
  const auto wide = values<uint32_t>(*stored(DataType::kBF16, all), whole, DataType::kF32);
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(wide[i], uint32_t{all[i]} << 16);
  const auto file = stored(DataType::kF32, wide);
  EXPECT_EQ(values<uint16_t>(*file, whole, DataType::kBF16), all);
  EXPECT_EQ(values<uint32_t>(*file, whole, DataType::kF32), wide);
  // Halfway between two: the even one; a bit more: the upper one.
  const std::vector<uint32_t> halves{0x3f808000, 0x3f818000, 0x3f808001};
  EXPECT_EQ(
      values<uint16_t>(*stored(DataType::kF32, halves), {.first = 0, .count = 3}, DataType::kBF16),
      (std::vector<uint16_t>{0x3f80, 0x3f82, 0x3f81}));
}

TEST_F(StoredValues, APartIsThatPartAlsoAcrossPieces) {
  std::vector<float> many((size_t{5} << 19) + 7);  // two and a half pieces
  for (size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i);
  const auto file = stored(DataType::kF32, many);
  const ValueRange part{.first = 3, .count = static_cast<int64_t>(many.size()) - 5};
  EXPECT_EQ(values<float>(*file, part, DataType::kF32),
            std::vector<float>(many.begin() + 3, many.end() - 2));
  EXPECT_TRUE(values<float>(*file, {.first = 9, .count = 0}, DataType::kF32).empty());
  EXPECT_THROW(values<float>(*file, {.first = 10, .count = part.count}, DataType::kF32), Error);
}

TEST_F(StoredValues, WhatIsNotFiniteOrNoNumberIsRefusedByName) {
  const auto message = [&](const SafetensorsFile& file, DataType type) -> std::string {
    try {
      values<char>(file, {.first = 0, .count = 1}, type);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      return error.what();
    }
    return {};
  };
  const std::string bad = "tensor \"a\" holds a value that is not finite";
  const float infinite = std::numeric_limits<float>::infinity();
  const float largest = std::numeric_limits<float>::max();
  for (const DataType type : {DataType::kF32, DataType::kBF16}) {
    EXPECT_NE(message(*stored(DataType::kF32, std::vector{-infinite}), type).find(bad),
              std::string::npos);
    EXPECT_NE(message(*stored(DataType::kF32, std::vector{std::nanf("")}), type).find(bad),
              std::string::npos);
    EXPECT_NE(message(*stored(DataType::kBF16, std::vector<uint16_t>{0xff80}), type).find(bad),
              std::string::npos);
    EXPECT_NE(message(*stored(DataType::kF16, std::vector<uint16_t>{0x7c01}), type).find(bad),
              std::string::npos);
  }
  EXPECT_NE(
      message(*stored(DataType::kF16, std::vector<uint16_t>{0xfc00}), DataType::kF16).find(bad),
      std::string::npos);
  EXPECT_EQ(message(*stored(DataType::kF32, std::vector{largest}), DataType::kF32), "");
  EXPECT_NE(message(*stored(DataType::kF32, std::vector{largest}), DataType::kBF16)
                .find(bad + " as BF16"),
            std::string::npos);
  EXPECT_NE(message(*stored(DataType::kF64, std::vector{1.0}), DataType::kF32)
                .find("\"a\" must be F32, BF16 or F16, got F64"),
            std::string::npos);
}

TEST_F(StoredValues, BytesOfAnyTypeAreHandedOnWhole) {
  std::vector<uint64_t> many((size_t{9} << 17) + 3);  // more than two pieces
  for (size_t i = 0; i < many.size(); ++i) many[i] = i * 0x9e3779b97f4a7c15U;
  const auto file = stored(DataType::kI64, many);
  std::vector<std::byte> all;
  append_bytes(*file, "a", [&](std::span<const std::byte> bytes) {
    all.insert(all.end(), bytes.begin(), bytes.end());
  });
  ASSERT_EQ(all.size(), many.size() * 8);
  EXPECT_EQ(std::memcmp(all.data(), many.data(), all.size()), 0);
}

}  // namespace
}  // namespace msa::storage
