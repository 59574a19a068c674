#include "msa/train/auxiliary_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/logaddexp.h>

#include <limits>

#include "msa/base/error.h"
#include "msa/model/parameter_shapes.h"

namespace msa::train {
namespace {

/// log-probability of each place [A, M].
at::Tensor log_probability(const at::Tensor& s, const at::Tensor& is_positive,
                           const at::Tensor& is_counted, bool is_decoupled) {
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  if (!is_decoupled) return s.masked_fill(is_counted.logical_not(), kNone).log_softmax(1);
  // A finite stand-in, so that a question without negatives has gradients.
  const auto is_negative = is_counted.logical_and(is_positive.logical_not());
  const auto negatives = s.masked_fill(is_negative.logical_not(), -1e30).logsumexp(1, true);
  return s - at::logaddexp(s, negatives);
}

}  // namespace

at::Tensor auxiliary_loss(const at::Tensor& scores, const at::Tensor& is_positive,
                          const at::Tensor& is_counted, const AuxiliaryLossOptions& options) {
  MSA_CHECK(scores.dim() == 2 && scores.sizes() == is_positive.sizes() &&
                scores.sizes() == is_counted.sizes(),
            "auxiliary_loss: scores and masks must have one shape [A, M]");
  const auto positive = is_positive.to(scores.scalar_type());
  const auto counted = is_counted.to(scores.scalar_type());
  if (options.method == AuxiliaryMethod::kBce) {
    const auto each = at::log_sigmoid((scores + options.bias) * (positive * 2 - 1));
    return -(each * counted).sum(1) / counted.sum(1);
  }
  const auto s =
      scores / options.temperature.clamp(model::kLowestTemperature, model::kHighestTemperature);
  const bool is_decoupled = options.method == AuxiliaryMethod::kInfonceDecouple ||
                            options.method == AuxiliaryMethod::kInfonceDecoupleFocal;
  // Places that are no positives are left out before anything is summed: theirs may be infinite.
  auto each = log_probability(s, is_positive, is_counted, is_decoupled)
                  .masked_fill(is_positive.logical_not(), 0);
  if (options.method == AuxiliaryMethod::kInfonceFocal ||
      options.method == AuxiliaryMethod::kInfonceDecoupleFocal) {
    each = (1 - each.exp()).square() * each;
  }
  return -each.sum(1) / positive.sum(1);
}

}  // namespace msa::train
