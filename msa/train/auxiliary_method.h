#pragma once
// The ways to teach routing, by their names in config.json.

#include <string_view>

namespace msa::train {

/// Names as of aux_loss_method.
enum class AuxiliaryMethod {
  kInfonce,
  kInfonceFocal,
  kInfonceDecouple,
  kInfonceDecoupleFocal,
  kBce
};

/// Throws Error(kInvalidArgument) listing the names for any other.
AuxiliaryMethod auxiliary_method(std::string_view name);

std::string_view name_of(AuxiliaryMethod method);  // "INFONCE_DECOUPLE"

}  // namespace msa::train
