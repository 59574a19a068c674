#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "msa/kernels/device_arrays.cuh"
#include "msa/kernels/token_places.h"

namespace msa::kernels {
namespace {

class TokenPlacesCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_device()) GTEST_SKIP() << "no GPU";
    prefix_ = to_device<int32_t>({5, 7, 9});
    first_row_ = to_device<int32_t>({-1, -1, -1});
    key_first_ = to_device<int32_t>({-1, -1, -1, -1, -1, -1});
    query_first_ = device_array<int32_t>(2);
    query_last_ = device_array<int32_t>(2);
  }

  TokenPlaces places() const {
    return {prefix_.get(), first_row_.get(), key_first_.get(), query_first_.get(),
            query_last_.get()};
  }

  DeviceArray<int32_t> prefix_;
  DeviceArray<int32_t> first_row_;
  DeviceArray<int32_t> key_first_;
  DeviceArray<int32_t> query_first_;
  DeviceArray<int32_t> query_last_;
};

TEST_F(TokenPlacesCuda, APassStandsBehindThePrefixOfItsLayersAlone) {
  place_tokens_cuda({.places = places(), .first_layer = 1, .end_layer = 3, .first = 4, .end = 10},
                    nullptr);
  EXPECT_EQ(to_host(first_row_, 3), (std::vector<int32_t>{-1, 11, 13}));
  EXPECT_EQ(to_host(key_first_, 6), (std::vector<int32_t>{-1, -1, 0, 17, 0, 19}));
  EXPECT_EQ(to_host(query_first_, 2), (std::vector<int32_t>{0, 6}));
  EXPECT_EQ(to_host(query_last_, 2), (std::vector<int32_t>{0, 1}));
}

TEST_F(TokenPlacesCuda, AStepStandsBehindAllTokens) {
  const auto out = device_array<int32_t>(3);
  begin_step_cuda({.places = places(),
                   .num_layers = 3,
                   .token = 42,
                   .num_tokens = 6,
                   .first_position = 19,
                   .token_out = out.get(),
                   .position_out = out.get() + 1,
                   .row_out = out.get() + 2},
                  nullptr);
  EXPECT_EQ(to_host(first_row_, 3), (std::vector<int32_t>{11, 13, 15}));
  EXPECT_EQ(to_host(key_first_, 6), (std::vector<int32_t>{0, 12, 0, 14, 0, 16}));
  EXPECT_EQ(to_host(query_first_, 2), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(to_host(out, 3), (std::vector<int32_t>{42, 25, 6}));
}

TEST_F(TokenPlacesCuda, AStepTakesItsTokenFromTheOneBefore) {
  for (const int32_t token : {7, -1}) {
    const auto next = to_device<int32_t>({token});
    const auto out = device_array<int32_t>(4);
    begin_step_cuda({.places = places(),
                     .num_layers = 3,
                     .token = 42,
                     .next_token = next.get(),
                     .next_token_seen = out.get() + 3,
                     .num_tokens = 6,
                     .first_position = 19,
                     .token_out = out.get(),
                     .position_out = out.get() + 1,
                     .row_out = out.get() + 2},
                    nullptr);
    EXPECT_EQ(to_host(out, 4), (std::vector<int32_t>{std::max(token, 0), 25, 6, token}));
  }
}

TEST_F(TokenPlacesCuda, ARowIsStoredWhereTheDeviceSays) {
  const auto x = to_device<float>({1, 2, 3});
  const auto rows = to_device<float>({0, 0, 0, 0, 0, 0});
  const auto row = to_device<int32_t>({1});
  store_row_cuda({.x = x.get(), .rows = rows.get(), .row = row.get(), .dim = 3}, nullptr);
  EXPECT_EQ(to_host(rows, 6), (std::vector<float>{0, 0, 0, 1, 2, 3}));
}

}  // namespace
}  // namespace msa::kernels
