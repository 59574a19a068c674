#include "msa/base/handoff.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace msa {
namespace {

TEST(Handoff, GivesEveryValueOnceAndInOrder) {
  Handoff<std::unique_ptr<int>> handoff;
  constexpr int kValues = 1000;
  std::thread giver([&] {
    for (int i = 0; i < kValues; ++i) EXPECT_TRUE(handoff.put(std::make_unique<int>(i)));
    handoff.close();
  });
  std::vector<int> taken;
  while (const auto value = handoff.take()) taken.push_back(**value);
  giver.join();
  ASSERT_EQ(taken.size(), static_cast<size_t>(kValues));
  for (int i = 0; i < kValues; ++i) EXPECT_EQ(taken[i], i);
}

TEST(Handoff, TheGiverIsNeverMoreThanOneValueAhead) {
  Handoff<int> handoff;
  std::atomic<int> given{0};
  std::thread giver([&] {
    for (int i = 0; i < 50; ++i) {
      handoff.put(i);
      ++given;
    }
    handoff.close();
  });
  int taken = 0;
  for (; handoff.take(); ++taken) EXPECT_LE(given.load(), taken + 2);
  giver.join();
  EXPECT_EQ(taken, 50);
}

TEST(Handoff, ClosingWakesAGiverAndATakerThatWait) {
  Handoff<int> full;
  EXPECT_TRUE(full.put(1));
  std::thread giver([&] { EXPECT_FALSE(full.put(2)); });
  Handoff<int> empty;
  std::thread taker([&] { EXPECT_FALSE(empty.take()); });
  full.close();
  empty.close();
  giver.join();
  taker.join();
}

TEST(Handoff, WhatWasGivenBeforeItClosedCanBeTaken) {
  Handoff<int> handoff;
  EXPECT_TRUE(handoff.put(7));
  handoff.close();
  EXPECT_FALSE(handoff.put(8));
  EXPECT_EQ(handoff.take(), 7);
  EXPECT_FALSE(handoff.take());
}

}  // namespace
}  // namespace msa
