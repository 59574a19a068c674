#include "msa/train/layer_border.h"

namespace msa::train {
namespace {

std::string_view stage_of(RowsOf rows) {
  switch (rows) {
    case RowsOf::kDocumentTokens:
    case RowsOf::kChunks:
      return ", documents";
    case RowsOf::kSequenceTokens:
    case RowsOf::kTargets:
      return ", sequences";
    case RowsOf::kNothing:
      return "";
  }
  return "";
}

}  // namespace

std::string name_of(const LayerBorder& border) {
  std::string name(border.tensor);
  if (border.layer >= 0) name += " of layer " + std::to_string(border.layer);
  return name.append(stage_of(border.rows));
}

}  // namespace msa::train
