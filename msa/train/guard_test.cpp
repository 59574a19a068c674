#include "msa/train/guard.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

StepOutcome outcome(int64_t step, double loss, double norm = 1) {
  return {.step = step, .loss = loss, .gradient_norm = norm, .is_taken = true};
}

/// What the device makes of it.
StepOutcome judged(const Guard& guard, int64_t step, double loss, double norm = 1) {
  return {.step = step,
          .loss = loss,
          .gradient_norm = norm,
          .is_taken = std::isfinite(loss) && loss <= guard.limit() && std::isfinite(norm) &&
                      norm <= guard.norm_limit()};
}

TEST(Guard, HasNoLimitBeforeItKnowsEnough) {
  Guard guard({});
  for (int64_t step = 0; step < 7; ++step) {
    EXPECT_EQ(guard.limit(), kInfinity);
    EXPECT_EQ(guard.add(outcome(step, 2)), "");
  }
  guard.add(outcome(7, 2));
  EXPECT_DOUBLE_EQ(guard.limit(), 2 + 10 * 0.02) << "losses that are all alike";
}

TEST(Guard, TheLimitIsTheMedianAndDeviationsAbove) {
  Guard guard({.window = 9, .deviations = 4, .max_skipped = 5});
  for (int64_t step = 0; step < 9; ++step) guard.add(outcome(step, 100));
  // These push out all of the losses of 100.
  for (const double loss : {3.0, 1.0, 2.0, 5.0, 4.0, 9.0, 7.0, 8.0, 6.0}) {
    guard.add(outcome(0, loss));
  }
  EXPECT_NEAR(guard.limit(), 5 + 4 * 1.4826 * 2, 1e-12);
  guard.begin_phase();
  EXPECT_EQ(guard.limit(), kInfinity);
}

TEST(Guard, SaysWhyAStepWasSkippedAndDoesNotLearnFromIt) {
  Guard guard({.window = 20, .deviations = 10, .max_skipped = 4});
  for (int64_t step = 0; step < 20; ++step) {
    guard.add(outcome(step, 2 + 0.01 * static_cast<double>(step % 5)));
  }
  const double limit = guard.limit();
  EXPECT_LT(limit, 3);
  EXPECT_NE(guard.add(judged(guard, 20, 50)).find("the loss jumped to 50, at most"),
            std::string::npos);
  EXPECT_EQ(guard.add(judged(guard, 21, std::nan(""))), "the loss is nan");
  EXPECT_EQ(guard.add(judged(guard, 22, 2, kInfinity)), "the length of the gradient is inf");
  EXPECT_EQ(guard.limit(), limit);
  EXPECT_FALSE(guard.must_stop());
  EXPECT_EQ(guard.num_skipped_in_row(), 3);
  EXPECT_EQ(guard.add(judged(guard, 23, 2)), "");
  EXPECT_EQ(guard.num_skipped_in_row(), 0);
  EXPECT_EQ(guard.num_skipped(), 3);
}

TEST(Guard, StopsAfterStepsSkippedInARow) {
  Guard guard({});
  for (int64_t step = 0; step < 4; ++step) guard.add(judged(guard, step, std::nan("")));
  guard.add(judged(guard, 4, 1));
  for (int64_t step = 0; step < 5; ++step) {
    EXPECT_FALSE(guard.must_stop());
    guard.add(judged(guard, step, kInfinity, std::nan("")));
  }
  EXPECT_TRUE(guard.must_stop());
}

TEST(Guard, WithoutDeviationsNothingIsASpike) {
  Guard guard({.window = 10, .deviations = 0, .max_skipped = 5});
  for (int64_t step = 0; step < 10; ++step) guard.add(outcome(step, 1));
  EXPECT_EQ(guard.add(judged(guard, 10, 1e9)), "");
}

TEST(Guard, AGradientFarLongerThanUsualIsASpike) {
  Guard guard({.window = 12, .deviations = 10, .norm_ratio = 20, .max_skipped = 5});
  for (int64_t step = 0; step < 8; ++step) {
    EXPECT_EQ(guard.norm_limit(), kInfinity);
    guard.add(outcome(step, 2, 0.5 + 0.1 * static_cast<double>(step % 3)));
  }
  EXPECT_DOUBLE_EQ(guard.norm_limit(), 20 * 0.6);
  EXPECT_EQ(guard.add(judged(guard, 8, 2, 12)), "");
  EXPECT_NE(guard.add(judged(guard, 9, 2, 12.1)).find("the length of the gradient jumped to 12.1"),
            std::string::npos);
  EXPECT_EQ(guard.num_skipped_in_row(), 1);
  guard.begin_phase();
  EXPECT_EQ(guard.norm_limit(), kInfinity);
  Guard off({.window = 12, .deviations = 10, .norm_ratio = 0, .max_skipped = 5});
  for (int64_t step = 0; step < 12; ++step) off.add(outcome(step, 2));
  EXPECT_EQ(off.norm_limit(), kInfinity);
}

TEST(Guard, WhatWasFoundBesideTheNumbersIsTheReason) {
  Guard guard({});
  StepOutcome bad = outcome(3, std::nan(""));
  bad.is_taken = false;
  bad.fault = "a weight is not finite";
  EXPECT_EQ(guard.add(bad), "a weight is not finite");
}

TEST(Guard, GoesOnFromAStateWithoutGradientNorms) {
  Guard guard({});
  guard.restore({{"losses", {1, 2}}, {"num_skipped", 3}, {"num_skipped_in_row", 0}});
  EXPECT_EQ(guard.num_skipped(), 3);
  EXPECT_EQ(guard.norm_limit(), kInfinity);
}

TEST(Guard, GoesOnFromItsState) {
  Guard guard({.window = 12, .deviations = 5, .max_skipped = 5});
  for (int64_t step = 0; step < 15; ++step) {
    guard.add(outcome(step, 1.0 / 3 + 0.1 * std::sin(static_cast<double>(step))));
  }
  guard.add(judged(guard, 15, std::nan("")));
  Guard again({.window = 12, .deviations = 5, .max_skipped = 5});
  again.restore(Json::parse(guard.state().dump()));
  EXPECT_EQ(again.limit(), guard.limit());
  EXPECT_EQ(again.norm_limit(), guard.norm_limit());
  EXPECT_EQ(again.num_skipped_in_row(), 1);
  EXPECT_EQ(again.state(), guard.state());
  for (const char* bad : {"{}", "[]", R"({"losses": [1], "num_skipped": 0})",
                          R"({"losses": ["1"], "num_skipped": 0, "num_skipped_in_row": 0})",
                          R"({"losses": 1, "num_skipped": 0, "num_skipped_in_row": 0})",
                          R"({"losses": [], "num_skipped": -1, "num_skipped_in_row": 0})"}) {
    EXPECT_THROW(again.restore(Json::parse(bad)), Error) << bad;
    EXPECT_EQ(again.state(), guard.state());
  }
}

TEST(Guard, FindsEveryTensorThatIsNotFiniteAtAnyPlace) {
  std::vector<NamedTensor> tensors{{"a", at::ones({3, 4})},
                                   {"none", at::Tensor()},
                                   {"count", at::ones({2}, at::kLong)},
                                   {"half", at::ones({5}, at::kBFloat16)},
                                   {"scalar", at::ones({})}};
  EXPECT_TRUE(not_finite(tensors).empty());
  EXPECT_TRUE(not_finite({}).empty());
  int caught = 0;
  for (NamedTensor& tensor : tensors) {
    if (!tensor.tensor.defined() || !tensor.tensor.is_floating_point()) continue;
    for (int64_t i = 0; i < tensor.tensor.numel(); ++i) {
      for (const double bad : {std::nan(""), kInfinity, -kInfinity}) {
        const at::Tensor place = tensor.tensor.view(-1)[i];
        place.fill_(bad);
        EXPECT_EQ(not_finite(tensors), std::vector<std::string>{tensor.name});
        place.fill_(1);
        ++caught;
      }
    }
  }
  EXPECT_EQ(caught, 3 * (12 + 5 + 1));
  for (NamedTensor& tensor : tensors) {
    if (tensor.tensor.defined() && tensor.tensor.is_floating_point()) {
      tensor.tensor.mutable_grad() = at::ones_like(tensor.tensor);
    }
  }
  tensors[3].tensor.mutable_grad().fill_(kInfinity);
  EXPECT_EQ(not_finite_gradients(tensors), std::vector<std::string>{"half"});
}

TEST(Guard, TheMessageNamesTensorsAndSequences) {
  const std::vector<std::string> tensors{"model.layers.3.mlp.up_proj.weight"};
  std::vector<std::string> sequences;
  for (int i = 0; i < 10; ++i) sequences.push_back("question-" + std::to_string(i));
  EXPECT_EQ(skipped_message(outcome(7, 1), "the loss is nan", tensors, sequences),
            "step 7 is skipped: the loss is nan; tensors: model.layers.3.mlp.up_proj.weight; "
            "samples: question-0, question-1, question-2, question-3, question-4, question-5, "
            "question-6, question-7 and 2 more");
  EXPECT_EQ(skipped_message(outcome(7, 1), "why", {}, {}), "step 7 is skipped: why");
}

}  // namespace
}  // namespace msa::train
