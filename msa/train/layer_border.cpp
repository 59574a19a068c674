#include "msa/train/layer_border.h"

namespace msa::train {
namespace {

std::string_view stage_of(RowsOf rows) {
  switch (rows) {
    case RowsOf::kDocumentTokens:
    case RowsOf::kChunks:
    case RowsOf::kDocumentTargets:
      return ", documents";
    case RowsOf::kSequenceTokens:
    case RowsOf::kSequenceTargets:
      return ", sequences";
    case RowsOf::kTargets:
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
