#pragma once
// Watches the losses and gradients of a run: steps that are not finite or jump are not taken, and
// too many of them stop it.

#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "msa/base/json.h"
#include "msa/train/config.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

/// What a step gave, read from the device.
struct StepOutcome {
  int64_t step = 0;
  double loss = 0;
  double gradient_norm = 0;
  bool is_taken = true;    // as the optimizer says
  std::string fault = {};  // what was found to be wrong beside these numbers; empty: nothing
};

/// What a step may come to at most.
struct StepLimits {
  double loss = std::numeric_limits<double>::infinity();
  double gradient_norm = std::numeric_limits<double>::infinity();
};

/// A step is judged on the device, against limits that are known before. What came of it may be
/// told to `add` some steps later, so that nothing has to wait; whoever resumes must tell it just
/// as late. One thread at a time.
class Guard {
 public:
  explicit Guard(const GuardConfig& config);

  /// The highest loss that is no spike: the median of the last losses, and `deviations` times their
  /// median absolute deviation (as that of normal numbers) above, which counts as one hundredth of
  /// the median at least. Infinite until there are eight losses.
  double limit() const;

  /// The longest gradient that is no spike: `norm_ratio` times the median of the last lengths.
  /// Infinite until there are eight.
  double norm_limit() const;

  StepLimits limits() const { return {.loss = limit(), .gradient_norm = norm_limit()}; }

  /// Takes in a step, in order. Empty if it was taken, else why not.
  std::string add(const StepOutcome& outcome);

  /// True once max_skipped steps were skipped one after the other.
  bool must_stop() const { return num_skipped_in_row_ >= config_.max_skipped; }

  int64_t num_skipped_in_row() const { return num_skipped_in_row_; }
  int64_t num_skipped() const { return num_skipped_; }  // of the whole run

  /// Forgets losses and lengths: those of the next phase are others.
  void begin_phase();

  /// All that it remembers; restore takes it back. Throws Error(kInvalidFormat).
  Json state() const;
  void restore(const Json& state);

 private:
  GuardConfig config_;
  std::deque<double> losses_;  // of steps taken
  std::deque<double> norms_;   // of their gradients
  int64_t num_skipped_in_row_ = 0;
  int64_t num_skipped_ = 0;
};

/// Names of the tensors that hold a value that is not finite, in order. Tensors may be undefined.
/// Waits for the device once.
std::vector<std::string> not_finite(std::span<const NamedTensor> tensors);

/// The same for the gradients of parameters.
std::vector<std::string> not_finite_gradients(std::span<const NamedTensor> parameters);

/// One line for a skipped step: its number, why, the tensors (if any) and the samples, of each the
/// first few by name.
std::string skipped_message(const StepOutcome& outcome, const std::string& reason,
                            std::span<const std::string> tensors,
                            std::span<const std::string> samples);

}  // namespace msa::train
