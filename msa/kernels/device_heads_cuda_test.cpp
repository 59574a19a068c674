#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "msa/base/error.h"
#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/device_heads.h"
#include "msa/kernels/test_values.h"

namespace msa::kernels {
namespace {

// Absolute plus relative. bfloat16 keeps 8 bits.
constexpr double kBFloat16Tolerance = 1.0 / 256;
constexpr double kFloatTolerance = 2e-6;
constexpr float kEps = 1e-6F;

struct HeadShape {
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
};

std::vector<double> normed_and_rotated(const float* head, const float* weight, const float* cosine,
                                       const float* sine, int64_t dim) {
  double squares = 0;
  for (int64_t i = 0; i < dim; ++i) squares += std::pow<double>(head[i], 2);
  const double factor = 1 / std::sqrt(squares / static_cast<double>(dim) + kEps);
  std::vector<double> out(dim);
  for (int64_t i = 0; i < dim / 2; ++i) {
    const double a = head[i] * factor * weight[i];
    const double b = head[dim / 2 + i] * factor * weight[dim / 2 + i];
    out[i] = a * cosine[i] - b * sine[i];
    out[dim / 2 + i] = b * cosine[i] + a * sine[i];
  }
  return out;
}

/// What a test of spread_heads gives and what it expects, per array.
class SpreadCase {
 public:
  SpreadCase(const HeadShape& shape, NumberType type, bool has_queries, int32_t first_row)
      : shape_(shape), type_(type), has_queries_(has_queries), first_row_(first_row) {
    const int64_t heads = 2 * shape.num_kv_heads + (has_queries ? shape.num_heads : 0);
    stride_ = kFirstColumn + heads * shape.head_dim + 24;
    joint_ = rounded(random_floats(kTokens * stride_, 21, 2));
    wide_joint_ = widened(joint_);
    q_norm_ = random_floats(shape.head_dim, 22);
    k_norm_ = random_floats(shape.head_dim, 23);
    for (int64_t i = 0; i < kPositions * shape.head_dim / 2; ++i) {
      cosine_.push_back(std::cos(0.1F * static_cast<float>(i)));
      sine_.push_back(std::sin(0.1F * static_cast<float>(i)));
    }
  }

  void run_and_compare() {
    const size_t kv_size = kRows * shape_.num_kv_heads * shape_.head_dim;
    const size_t query_size = kTokens * shape_.num_heads * shape_.head_dim;
    const auto joint = to_device(joint_);
    const auto wide_joint = to_device(wide_joint_);
    const auto q_norm = to_device(q_norm_);
    const auto k_norm = to_device(k_norm_);
    const auto cosine = to_device(cosine_);
    const auto sine = to_device(sine_);
    const auto position = to_device(position_);
    const auto first_row = to_device(std::vector<int32_t>{first_row_});
    const auto query = to_device(std::vector<BFloat16>(query_size, kUnwritten));
    const auto key = to_device(std::vector<BFloat16>(kv_size, kUnwritten));
    const auto value = to_device(std::vector<BFloat16>(kv_size, kUnwritten));
    spread_heads_cuda(
        {.joint = type_ == NumberType::kBFloat16 ? static_cast<const void*>(joint.get())
                                                 : wide_joint.get(),
         .joint_type = type_,
         .row_stride = stride_,
         .first_column = kFirstColumn,
         .q_norm = q_norm.get(),
         .k_norm = k_norm.get(),
         .cosine = cosine.get(),
         .sine = sine.get(),
         .position = position.get(),
         .query = has_queries_ ? query.get() : nullptr,
         .key = key.get(),
         .value = value.get(),
         .first_row = first_row_ == 0 ? nullptr : first_row.get(),
         .num_tokens = kTokens,
         .num_heads = shape_.num_heads,
         .num_kv_heads = shape_.num_kv_heads,
         .head_dim = shape_.head_dim,
         .eps = kEps},
        nullptr);
    const int64_t kv_width = shape_.num_kv_heads * shape_.head_dim;
    compare(to_host(key, kv_size), shape_.num_kv_heads, first_row_, 0, &k_norm_, "key");
    compare(to_host(value, kv_size), shape_.num_kv_heads, first_row_, kv_width, nullptr, "value");
    if (has_queries_) {
      compare(to_host(query, query_size), shape_.num_heads, 0, 2 * kv_width, &q_norm_, "query");
    }
  }

 private:
  static constexpr int64_t kFirstColumn = 16;
  static constexpr int64_t kTokens = 5;
  static constexpr int64_t kRows = 9;
  static constexpr int64_t kPositions = 12;
  static constexpr BFloat16 kUnwritten{0x7fc1};

  void compare(const std::vector<BFloat16>& got, int64_t heads, int64_t first_row,
               int64_t first_column, const std::vector<float>* weight, const char* what) {
    const int64_t dim = shape_.head_dim;
    const int64_t width = heads * dim;
    for (int64_t row = 0; row < static_cast<int64_t>(got.size()) / width; ++row) {
      const int64_t token = row - first_row;
      for (int64_t h = 0; h < heads; ++h) {
        const BFloat16* out = got.data() + row * width + h * dim;
        if (token < 0 || token >= kTokens) {
          for (int64_t i = 0; i < dim; ++i) ASSERT_EQ(out[i].bits, kUnwritten.bits) << what;
          continue;
        }
        const float* head =
            wide_joint_.data() + token * stride_ + kFirstColumn + first_column + h * dim;
        const int64_t angles = position_[token] * dim / 2;
        std::vector<double> wanted(head, head + dim);
        if (weight != nullptr) {
          wanted = normed_and_rotated(head, weight->data(), cosine_.data() + angles,
                                      sine_.data() + angles, dim);
        }
        for (int64_t i = 0; i < dim; ++i) {
          const double allowed =
              weight == nullptr ? 0 : kBFloat16Tolerance * (1e-3 + std::abs(wanted[i]));
          ASSERT_LE(std::abs(to_float(out[i]) - wanted[i]), allowed)
              << what << " of token " << token << ", head " << h << " of " << heads << ", number "
              << i << " of " << dim << ": " << to_float(out[i]) << ", wanted " << wanted[i];
        }
      }
    }
  }

  HeadShape shape_;
  NumberType type_;
  bool has_queries_;
  int32_t first_row_;
  int64_t stride_ = 0;
  std::vector<BFloat16> joint_;
  std::vector<float> wide_joint_;
  std::vector<float> q_norm_;
  std::vector<float> k_norm_;
  std::vector<float> cosine_;
  std::vector<float> sine_;
  std::vector<int32_t> position_{3, 11, 0, 7, 7};
};

TEST(DeviceHeadsCuda, SpreadHeadsEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  for (const HeadShape& shape :
       {HeadShape{32, 8, 128}, HeadShape{3, 1, 16}, HeadShape{6, 2, 32}, HeadShape{4, 2, 64},
        HeadShape{2, 1, 256}, HeadShape{4, 2, 8}, HeadShape{3, 3, 80}, HeadShape{2, 1, 24}}) {
    for (const NumberType type : {NumberType::kBFloat16, NumberType::kFloat32}) {
      for (const bool has_queries : {true, false}) {
        for (const int32_t first_row : {0, 3}) {
          SpreadCase(shape, type, has_queries, first_row).run_and_compare();
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(DeviceHeadsCuda, FoldedQueriesEqualADoubleLoop) {
  if (!has_device()) GTEST_SKIP() << "no GPU";
  constexpr int64_t kTokens = 40;
  constexpr int64_t kFirstColumn = 5;
  std::vector<int32_t> row{39, 0, 17, 17};
  for (int32_t r = 0; r < 33; ++r) row.push_back(r);
  const auto num_rows = static_cast<int64_t>(row.size());
  for (const HeadShape& shape :
       {HeadShape{32, 8, 128}, HeadShape{6, 2, 10}, HeadShape{4, 4, 256}}) {
    const int64_t dim = shape.head_dim;
    const int64_t width = shape.num_kv_heads * dim;
    const int64_t group = shape.num_heads / shape.num_kv_heads;
    const int64_t stride = kFirstColumn + shape.num_heads * dim + 3;
    auto joint = rounded(random_floats(kTokens * stride, 31, 2));
    // A head without length stays without.
    for (int64_t i = 0; i < dim; ++i) joint[17 * stride + kFirstColumn + i] = BFloat16{};
    const auto wide = widened(joint);
    const auto device_joint = to_device(joint);
    const auto device_row = to_device(row);
    for (const bool normalizes : {false, true}) {
      for (const bool is_mean : {false, true}) {
        constexpr double kFactor = 0.37;
        std::vector<double> wanted(is_mean ? width : num_rows * width);
        for (int64_t r = 0; r < num_rows; ++r) {
          for (int64_t h = 0; h < shape.num_heads; ++h) {
            const float* head = wide.data() + row[r] * stride + kFirstColumn + h * dim;
            double squares = 0;
            for (int64_t i = 0; i < dim; ++i) squares += std::pow<double>(head[i], 2);
            double factor = kFactor / (is_mean ? static_cast<double>(num_rows) : 1);
            if (normalizes) factor /= std::max(std::sqrt(squares), 1e-12);
            double* target = wanted.data() + (is_mean ? 0 : r * width) + h / group * dim;
            for (int64_t i = 0; i < dim; ++i) target[i] += factor * head[i];
          }
        }
        const auto out = to_device(std::vector<float>(wanted.size(), NAN));
        fold_queries_cuda({.joint = device_joint.get(),
                           .row_stride = stride,
                           .first_column = kFirstColumn,
                           .row = device_row.get(),
                           .out = out.get(),
                           .num_rows = num_rows,
                           .num_heads = shape.num_heads,
                           .num_kv_heads = shape.num_kv_heads,
                           .head_dim = dim,
                           .factor = kFactor,
                           .normalizes = normalizes,
                           .is_mean = is_mean},
                          nullptr);
        const auto got = to_host(out, wanted.size());
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_LE(std::abs(got[i] - wanted[i]), kFloatTolerance * (1 + std::abs(wanted[i])))
              << "at " << i << " of rows of " << width << ", normalizes " << normalizes
              << ", is_mean " << is_mean << ": " << got[i] << ", wanted " << wanted[i];
        }
      }
    }
  }
}

TEST(DeviceHeadsCuda, HeadsOutsideTheRangesAreRefused) {
  const SpreadHeadsParams good{.num_tokens = 1, .num_heads = 2, .num_kv_heads = 1, .head_dim = 16};
  auto params = good;
  params.head_dim = 12;
  EXPECT_THROW(spread_heads_cuda(params, nullptr), Error);
  params.head_dim = kLargestHead + 8;
  EXPECT_THROW(spread_heads_cuda(params, nullptr), Error);
  params = good;
  params.first_column = 4;
  EXPECT_THROW(spread_heads_cuda(params, nullptr), Error);
  EXPECT_THROW(fold_queries_cuda({.num_rows = 1, .num_heads = 3, .num_kv_heads = 2, .head_dim = 16},
                                 nullptr),
               Error);
}

}  // namespace
}  // namespace msa::kernels
