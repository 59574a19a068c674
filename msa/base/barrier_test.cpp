#include "msa/base/barrier.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace msa {
namespace {

TEST(Barrier, WhatEveryThreadWroteBeforeIsSeenByAllBehind) {
  for (const int64_t count : {1, 2, 3, 7}) {
    constexpr int64_t kRounds = 300;
    Barrier barrier;
    std::vector<int64_t> written(static_cast<size_t>(count));  // plain: a race would be seen
    std::vector<int64_t> wrong(static_cast<size_t>(count));
    std::vector<std::thread> threads;
    for (int64_t thread = 0; thread < count; ++thread) {
      threads.emplace_back([&, thread] {
        for (int64_t round = 1; round <= kRounds; ++round) {
          written[thread] = round;
          barrier.wait(count);
          for (const int64_t value : written) wrong[thread] += value != round;
          barrier.wait(count);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    for (const int64_t misses : wrong) EXPECT_EQ(misses, 0) << count << " threads";
  }
}

}  // namespace
}  // namespace msa
