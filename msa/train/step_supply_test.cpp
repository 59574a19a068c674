#include "msa/train/step_supply.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"

namespace msa::train {
namespace {

class StepSupplyTest : public testing::Test {
 protected:
  StepSupplyTest() {
    mixture_.memory_tokens = 2000;
    mixture_.sequence_tokens = 3000;
    mixture_.similar_share = 1;
  }

  StepSupply supply(const StepSupply::Prepare& prepare) const {
    return {fixture_.corpus(), fixture_.layout(), mixture_, {.seed = 7}, prepare};
  }

  samples::Batch made(int64_t step, const std::vector<std::vector<int32_t>>& groups = {}) const {
    samples::BatchMaker maker(fixture_.corpus(), fixture_.layout(), mixture_, {.seed = 7});
    maker.set_similar(groups);
    return maker.make(step);
  }

  static PreparedStep as_it_is(samples::Batch batch) {
    return {.batch = std::move(batch), .totals = {}, .input = {}, .flops = {}};
  }

  const samples::BatchFixture fixture_{source_folder() / "models/msa-tiny"};
  samples::Mixture mixture_;
};

TEST_F(StepSupplyTest, GivesEveryStepOncePreparedAheadOrNot) {
  StepSupply steps = supply(as_it_is);
  steps.open(3);
  for (int64_t step = 3; step < 9; ++step) {
    EXPECT_EQ(steps.take().batch.sequences.tokens, made(step).sequences.tokens) << step;
    if (step % 2 == 0) steps.prepare_next();
  }
}

TEST_F(StepSupplyTest, WhatWasPreparedAheadIsDroppedForNewGroups) {
  const std::vector<std::vector<int32_t>> groups{{4, 5}, {7, 9}};
  StepSupply steps = supply(as_it_is);
  steps.open(0);
  EXPECT_EQ(steps.take().batch.documents.tokens, made(0).documents.tokens);
  steps.prepare_next();
  steps.close();
  steps.set_similar(groups);
  steps.open(1);
  const auto next = steps.take().batch.documents.tokens;
  EXPECT_EQ(next, made(1, groups).documents.tokens);
  EXPECT_NE(next, made(1).documents.tokens);
}

TEST_F(StepSupplyTest, AFaultOfTheNextStepComesOutWhereItIsTaken) {
  int64_t left = 2;
  StepSupply steps = supply([&](samples::Batch batch) {
    if (--left == 0) throw Error(ErrorCode::kInternal, "no room");
    return as_it_is(std::move(batch));
  });
  steps.open(0);
  steps.take();
  EXPECT_NO_THROW(steps.prepare_next());
  EXPECT_THROW(steps.take(), Error);
  EXPECT_EQ(steps.take().batch.sequences.tokens, made(2).sequences.tokens) << "and goes on";
}

}  // namespace
}  // namespace msa::train
