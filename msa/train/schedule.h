#pragma once
// When a phase ends, and its learning rate until then.

#include <cstdint>

namespace msa::train {

/// Whichever comes first; 0: does not count.
struct StopRule {  // [phase.stop]
  int64_t steps = 0;
  int64_t tokens = 0;
  double seconds = 0;
  double recall = 0;  // recall@1 on held-back questions in the smallest memory
};

/// How far a phase is.
struct PhaseProgress {
  int64_t steps = 0;  // that lie behind
  int64_t tokens = 0;
  double seconds = 0;
};

/// The share of the phase that lies behind, by the rule that is nearest to its end; 1 or more at
/// the end. Recall has no share: whoever measures it compares it.
double progress_of(const StopRule& stop, const PhaseProgress& progress);

enum class RateCurve {
  kConstant,
  kCosine,
  kWsd,  // constant, then down a straight line (warm-up, stable, decay)
};

struct ScheduleConfig {  // [phase.schedule]
  RateCurve curve = RateCurve::kConstant;
  int64_t warmup_steps = 0;   // from 0 to the full rate on a straight line
  double decay_share = 0.25;  // of the phase, at its end: WSD
  double final_factor = 0.1;  // of the rate at the end: cosine and WSD
};

/// The factor of the phase's rate in its step `step` (from 0), when the share `progress` in [0, 1]
/// of the phase lies behind. A phase that stops by time has its share of time as progress, so that
/// its rates are not the same in two runs.
double rate_factor(const ScheduleConfig& schedule, int64_t step, double progress);

}  // namespace msa::train
