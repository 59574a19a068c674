#pragma once
// The loss that teaches routing: documents that support an answer against those that do not.

#include <ATen/core/Tensor.h>

#include "msa/train/auxiliary_method.h"

namespace msa::train {

struct AuxiliaryLossOptions {
  AuxiliaryMethod method = AuxiliaryMethod::kInfonceDecouple;
  at::Tensor temperature;  // scalar tau, clamped to its limits; all but BCE
  at::Tensor bias;         // scalar b; BCE
};

/// Loss of each question over its candidates. scores [A, M]; is_positive and is_counted [A, M]
/// bool: a place that is not counted is no candidate; every question has a positive one. With s =
/// scores / tau, P the positives and N the negatives of a question (arXiv 2603.23516):
///   INFONCE           -(1/|P|) sum over i in P of log(e^{s_i} / sum over P and N)
///   INFONCE_DECOUPLE  -(1/|P|) sum over i in P of log(e^{s_i} / (e^{s_i} + sum over N))
///   ..._FOCAL         each term times (1 - its probability)^2
///   BCE               -mean over P and N of log sigmoid(+-(score + b))
/// Result [A].
at::Tensor auxiliary_loss(const at::Tensor& scores, const at::Tensor& is_positive,
                          const at::Tensor& is_counted, const AuxiliaryLossOptions& options);

}  // namespace msa::train
