#include "msa/train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "msa/base/error.h"

namespace msa::train {
namespace {

TEST(Schedule, WarmsUpOnAStraightLineAndStays) {
  const ScheduleConfig schedule{
      .curve = RateCurve::kConstant, .warmup_steps = 4, .decay_share = 0.5, .final_factor = 0.1};
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 0, 0), 0.25);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 2, 0.2), 0.75);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 3, 0.3), 1);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 1000, 1), 1);
}

TEST(Schedule, WsdFallsOnAStraightLineOverItsLastShare) {
  const ScheduleConfig schedule{
      .curve = RateCurve::kWsd, .warmup_steps = 0, .decay_share = 0.25, .final_factor = 0.5};
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 0, 0), 1);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 9, 0.75), 1);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 9, 0.875), 0.75);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 9, 1), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 9, 1.2), 0.5) << "a phase may run over its time a little";
  const ScheduleConfig without{
      .curve = RateCurve::kWsd, .warmup_steps = 0, .decay_share = 0, .final_factor = 0.5};
  EXPECT_DOUBLE_EQ(rate_factor(without, 9, 1), 1);
}

TEST(Schedule, CosineFallsFromOneToTheFinalFactor) {
  const ScheduleConfig schedule{
      .curve = RateCurve::kCosine, .warmup_steps = 2, .decay_share = 0.25, .final_factor = 0.2};
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 0, 0), 0.5);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 5, 0.5), 0.6);
  EXPECT_NEAR(rate_factor(schedule, 5, 0.25), 0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(rate_factor(schedule, 5, 1), 0.2);
}

TEST(Schedule, ProgressIsThatOfTheRuleNearestToItsEnd) {
  const StopRule stop{.steps = 100, .tokens = 1000, .seconds = 50, .recall = 0.9};
  EXPECT_DOUBLE_EQ(progress_of(stop, {.steps = 10, .tokens = 50, .seconds = 1}), 0.1);
  EXPECT_DOUBLE_EQ(progress_of(stop, {.steps = 10, .tokens = 600, .seconds = 1}), 0.6);
  EXPECT_DOUBLE_EQ(progress_of(stop, {.steps = 10, .tokens = 600, .seconds = 60}), 1.2);
  const StopRule by_steps{.steps = 4, .tokens = 0, .seconds = 0, .recall = 0};
  EXPECT_DOUBLE_EQ(progress_of(by_steps, {.steps = 4, .tokens = 9, .seconds = 9}), 1);
}

TEST(Schedule, RefusesWhatIsNoStepOrProgress) {
  EXPECT_THROW(rate_factor({}, -1, 0), Error);
  EXPECT_THROW(rate_factor({}, 0, -0.1), Error);
  EXPECT_THROW(rate_factor({}, 0, std::nan("")), Error);
}

}  // namespace
}  // namespace msa::train
