#include "msa/train/stored_tensor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <span>
#include <utility>

#include "msa/base/error.h"

namespace msa::train {
namespace {

using storage::DataType;

constexpr std::array<std::pair<at::ScalarType, DataType>, 7> kTypes{
    {{at::kFloat, DataType::kF32},
     {at::kDouble, DataType::kF64},
     {at::kBFloat16, DataType::kBF16},
     {at::kHalf, DataType::kF16},
     {at::kLong, DataType::kI64},
     {at::kInt, DataType::kI32},
     {at::kByte, DataType::kU8}}};

}  // namespace

NamedTensor to_host(const NamedTensor& tensor) {
  return {.name = tensor.name, .tensor = tensor.tensor.detach().cpu().contiguous()};
}

storage::TensorToWrite to_write(const NamedTensor& tensor) {
  for (const auto& [type, stored] : kTypes) {
    if (type != tensor.tensor.scalar_type()) continue;
    return {.name = tensor.name,
            .type = stored,
            .shape = tensor.tensor.sizes().vec(),
            .bytes = std::span(static_cast<const std::byte*>(tensor.tensor.const_data_ptr()),
                               tensor.tensor.nbytes())};
  }
  throw Error(ErrorCode::kInternal, "tensor \"", tensor.name, "\" has a type that no file holds");
}

at::Tensor read_tensor(const storage::SafetensorsFile& file, const std::string& name) {
  const storage::TensorInfo& info = file.tensor(name);
  for (const auto& [type, stored] : kTypes) {
    if (stored != info.type) continue;
    at::Tensor tensor = at::empty(info.shape, type);
    file.read(name, std::span(static_cast<std::byte*>(tensor.data_ptr()), info.num_bytes));
    return tensor;
  }
  throw Error(ErrorCode::kInvalidFormat, file.path().string(), ": tensor \"", name,
              "\" has the type ", storage::data_type_name(info.type));
}

}  // namespace msa::train
