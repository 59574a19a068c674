#include "msa/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "msa/base/error.h"

namespace msa::train {

double progress_of(const StopRule& stop, const PhaseProgress& progress) {
  double share = 0;
  const auto count = [&](double done, double all) {
    if (all > 0) share = std::max(share, done / all);
  };
  count(static_cast<double>(progress.steps), static_cast<double>(stop.steps));
  count(static_cast<double>(progress.tokens), static_cast<double>(stop.tokens));
  count(progress.seconds, stop.seconds);
  return share;
}

double rate_factor(const ScheduleConfig& schedule, int64_t step, double progress) {
  MSA_CHECK(step >= 0, "the step of a schedule must not be negative, got ", step);
  MSA_CHECK(progress >= 0, "the progress of a schedule must not be negative, got ", progress);
  progress = std::min(progress, 1.0);
  double factor = 1;
  if (schedule.curve == RateCurve::kCosine) {
    const double share = (1 + std::cos(std::numbers::pi * progress)) / 2;
    factor = schedule.final_factor + (1 - schedule.final_factor) * share;
  } else if (schedule.curve == RateCurve::kWsd && schedule.decay_share > 0) {
    const double begin = 1 - schedule.decay_share;
    const double share = std::max(0.0, (progress - begin) / schedule.decay_share);
    factor = 1 + (schedule.final_factor - 1) * share;
  }
  if (step < schedule.warmup_steps) {
    factor *= static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  return factor;
}

}  // namespace msa::train
