#include "msa/train/auxiliary_method.h"

#include <string>
#include <utility>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr std::pair<std::string_view, AuxiliaryMethod> kNames[] = {
    {"INFONCE", AuxiliaryMethod::kInfonce},
    {"INFONCE_FOCAL", AuxiliaryMethod::kInfonceFocal},
    {"INFONCE_DECOUPLE", AuxiliaryMethod::kInfonceDecouple},
    {"INFONCE_DECOUPLE_FOCAL", AuxiliaryMethod::kInfonceDecoupleFocal},
    {"BCE", AuxiliaryMethod::kBce},
};

}  // namespace

AuxiliaryMethod auxiliary_method(std::string_view name) {
  std::string names;
  for (const auto& [known, method] : kNames) {
    if (name == known) return method;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  throw Error(ErrorCode::kInvalidArgument, "the auxiliary method must be one of ", names, ", got ",
              name);
}

std::string_view name_of(AuxiliaryMethod method) {
  for (const auto& [name, known] : kNames) {
    if (known == method) return name;
  }
  throw Error(ErrorCode::kInternal, "an auxiliary method without a name");
}

}  // namespace msa::train
