#pragma once
// How a model is loaded; without torch's headers, for who only asks for one.

#include "msa/model/config.h"

namespace msa::model {

/// In what numbers matrices are multiplied. Sums, norms, attention and the residual stream are
/// float32 in both.
enum class Precision {
  kFloat32,
  kBFloat16,  // inputs of the products of prefill and encoding rounded to bfloat16
};

struct TransformerOptions {
  Precision precision = Precision::kFloat32;
  ConfigOptions config;
};

}  // namespace msa::model
