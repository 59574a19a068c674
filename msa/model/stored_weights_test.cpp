#include "msa/model/stored_weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "msa/base/error.h"

namespace msa::model {
namespace {

using storage::DataType;
using storage::TensorToWrite;

class StoredWeightsTest : public testing::Test {
 protected:
  StoredWeightsTest() { std::filesystem::create_directory(folder_); }
  ~StoredWeightsTest() override { std::filesystem::remove_all(folder_); }

  std::span<const std::byte> bytes(size_t size) const {
    return std::as_bytes(std::span(data_)).first(size);
  }

  StoredWeights open(const std::vector<TensorToWrite>& tensors, bool has_int8_matrices) {
    write_safetensors(real_file_system(), file(), tensors);
    ModelConfig config;
    config.has_int8_matrices = has_int8_matrices;
    return StoredWeights::open(real_file_system(), folder_, config);
  }

  /// What finding the matrix "a" says, with the file's name.
  void expect_refused(const std::vector<TensorToWrite>& tensors, const std::string& part,
                      bool has_int8_matrices = true) {
    const StoredWeights weights = open(tensors, has_int8_matrices);
    try {
      weights.find("a", {2, 3});
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find(file().string()), 0U) << error.what();
    }
  }

  std::filesystem::path file() const { return folder_ / "model.safetensors"; }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("msa_weights_" + std::to_string(getpid()));
  std::string data_ = std::string(64, '\0');
};

TEST_F(StoredWeightsTest, AWeightIsFoundInItsShapeOrNotAtAll) {
  const auto weights =
      open({{"a", DataType::kF32, {2, 3}, bytes(24)}, {"scalar", DataType::kBF16, {1}, bytes(2)}},
           false);
  EXPECT_TRUE(weights.find("a", {2, 3}).has_value());
  EXPECT_TRUE(weights.find("scalar", {}).has_value());
  EXPECT_THROW(weights.find("a", {}), Error) << "of more than one number";
  EXPECT_NO_THROW(open({{"half", DataType::kF16, {2}, bytes(4)}}, false).at("half", {2}));
  EXPECT_FALSE(weights.find("b", {2, 3}).has_value());
  EXPECT_NO_THROW(weights.at("a", {2, 3}));
  try {
    weights.at("b", {2, 3});
    ADD_FAILURE() << "found";
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), folder_.string() + ": the tensor \"b\" is missing");
  }
}

TEST_F(StoredWeightsTest, OtherShapesAndTypesAreRefusedByName) {
  expect_refused({{"a", DataType::kF32, {3, 2}, bytes(24)}}, "must have the shape [2, 3]");
  expect_refused({{"a", DataType::kF32, {6}, bytes(24)}}, "must have the shape [2, 3]");
  expect_refused({{"a", DataType::kF64, {2, 3}, bytes(48)}}, "must be F32, BF16 or F16");
}

TEST_F(StoredWeightsTest, MatricesOfInt8NeedTheConfigAndAScaleForEachRow) {
  const TensorToWrite matrix{"a", DataType::kI8, {2, 3}, bytes(6)};
  const TensorToWrite scales{"a_scale", DataType::kBF16, {2, 1}, bytes(4)};
  expect_refused({matrix, scales}, "no quantization_config", /*has_int8_matrices=*/false);
  expect_refused({matrix}, "its scales \"a_scale\" are missing");
  expect_refused({matrix, {"a_scale", DataType::kBF16, {3, 1}, bytes(6)}}, "[2, 1]");
  expect_refused({matrix, {"a_scale", DataType::kBF16, {2}, bytes(4)}}, "[2, 1]");
  expect_refused({matrix, {"a_scale", DataType::kI32, {2, 1}, bytes(8)}}, "must be F32");
  const auto weights = open({matrix, scales}, true);
  const auto found = weights.find("a", {2, 3});
  ASSERT_TRUE(found.has_value());
  EXPECT_NE(found->scale_file, nullptr);
}

TEST_F(StoredWeightsTest, NamesLeaveOutTheScalesOfMatricesAlone) {
  const auto weights = open({{"a", DataType::kI8, {2, 3}, bytes(6)},
                             {"a_scale", DataType::kBF16, {2, 1}, bytes(4)},
                             {"b", DataType::kF32, {1}, bytes(4)},
                             {"b_scale", DataType::kF32, {1}, bytes(4)},
                             {"c_scale", DataType::kF32, {1}, bytes(4)}},
                            true);
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "b_scale", "c_scale"}));
  EXPECT_TRUE(weights.has_scales("a"));
  EXPECT_FALSE(weights.has_scales("b"));
  EXPECT_FALSE(open({{"a", DataType::kI8, {2, 3}, bytes(6)}}, true).has_scales("a"));
  EXPECT_FALSE(weights.has_scales("none"));
}

TEST_F(StoredWeightsTest, AVectorOfInt8IsNoWeight) {
  const auto weights = open({{"v", DataType::kI8, {6}, bytes(6)}}, true);
  EXPECT_THROW(weights.find("v", {6}), Error);
}

}  // namespace
}  // namespace msa::model
