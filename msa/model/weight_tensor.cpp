#include "msa/model/weight_tensor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <span>
#include <string>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/storage/int8_rows.h"

namespace msa::model {
namespace {

using storage::DataType;
using storage::SafetensorsFile;
using storage::StoredTensor;
using storage::TensorInfo;

at::ScalarType type_of(DataType stored) {
  switch (stored) {
    case DataType::kF32:
      return at::kFloat;
    case DataType::kBF16:
      return at::kBFloat16;
    case DataType::kF16:
      return at::kHalf;
    default:
      return at::kChar;
  }
}

at::Tensor read_stored(const SafetensorsFile& file, const std::string& name,
                       const std::vector<int64_t>& shape, storage::Digester* digester) {
  const TensorInfo& info = file.tensor(name);
  at::Tensor tensor = at::empty(shape, type_of(info.type));
  const std::span bytes(static_cast<std::byte*>(tensor.data_ptr()), info.num_bytes);
  file.read(name, bytes);
  if (digester != nullptr) {
    digester->add(name);
    digester->add(storage::data_type_name(info.type));
    digester->add(storage::shape_text(shape));
    digester->add(bytes);
  }
  return tensor;
}

/// Products of int8 and scales.
at::Tensor read_products(const StoredTensor& weight, const std::vector<int64_t>& shape,
                         storage::Digester* digester) {
  const at::Tensor stored = read_stored(*weight.file, weight.name, shape, digester);
  read_stored(*weight.scale_file, weight.scale_name(), {shape[0], 1}, digester);
  const std::vector<float> scales = storage::read_scales(weight, 0, shape[0]);
  at::Tensor products = at::empty(shape, at::kFloat);
  const auto* in = stored.const_data_ptr<int8_t>();
  auto* out = products.data_ptr<float>();
  const auto columns = static_cast<size_t>(shape[1]);
  parallel_for(shape[0], [&](int64_t row) {
    storage::dequantize_int8({in + row * shape[1], columns}, scales[static_cast<size_t>(row)],
                             {out + row * shape[1], columns});
  });
  return products;
}

}  // namespace

at::Tensor weight_tensor(const StoredTensor& weight, const std::vector<int64_t>& shape,
                         storage::Digester* digester) {
  const at::Tensor tensor = weight.info().type == DataType::kI8
                                ? read_products(weight, shape, digester)
                                : read_stored(*weight.file, weight.name, shape, digester);
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw Error(ErrorCode::kInvalidFormat, weight.file->path().string(), ": tensor \"", weight.name,
                "\" holds a value that is not finite");
  }
  // float16 has no place in either precision: it widens to float32 without loss.
  return tensor.scalar_type() == at::kHalf ? tensor.to(at::kFloat) : tensor;
}

}  // namespace msa::model
