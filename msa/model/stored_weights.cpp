#include "msa/model/stored_weights.h"

#include <string_view>
#include <utility>

#include "msa/base/error.h"

namespace msa::model {
namespace {

using storage::DataType;
using storage::SafetensorsFile;
using storage::StoredTensor;
using storage::TensorInfo;

constexpr std::string_view kScaleEnd = "_scale";

template <typename... Parts>
[[noreturn]] void refuse(const SafetensorsFile& file, const std::string& name,
                         const Parts&... parts) {
  throw Error(ErrorCode::kInvalidFormat, file.path().string(), ": tensor \"", name, "\" ",
              parts...);
}

void expect_shape(const SafetensorsFile& file, const std::string& name,
                  const std::vector<int64_t>& shape, const char* whose) {
  const TensorInfo& info = file.tensor(name);
  const bool is_scalar = shape.empty() && info.shape == std::vector<int64_t>{1};
  if (info.shape == shape || is_scalar) return;
  refuse(file, name, "must have the shape ", storage::shape_text(shape), whose, ", got ",
         storage::shape_text(info.shape));
}

void expect_numbers(const SafetensorsFile& file, const std::string& name) {
  const DataType type = file.tensor(name).type;
  if (type == DataType::kF32 || type == DataType::kBF16 || type == DataType::kF16) return;
  refuse(file, name, "must be F32, BF16 or F16, got ", storage::data_type_name(type));
}

}  // namespace

StoredWeights StoredWeights::open(FileSystem& files, const std::filesystem::path& folder,
                                  const ModelConfig& config) {
  return {storage::TensorFiles::open(files, folder), config.has_int8_matrices};
}

std::optional<StoredTensor> StoredWeights::find(const std::string& name,
                                                const std::vector<int64_t>& shape) const {
  const SafetensorsFile* file = files_.find(name);
  if (file == nullptr) return std::nullopt;
  expect_shape(*file, name, shape, " of config.json");
  StoredTensor tensor{.file = file, .name = name};
  if (file->tensor(name).type != DataType::kI8 || shape.size() != 2) {
    expect_numbers(*file, name);
    return tensor;
  }
  if (!has_int8_matrices_) {
    refuse(*file, name, "is I8, and config.json has no quantization_config that says what of");
  }
  tensor.scale_file = files_.find(tensor.scale_name());
  if (tensor.scale_file == nullptr) {
    refuse(*file, name, "is I8 and its scales \"", tensor.scale_name(), "\" are missing");
  }
  expect_shape(*tensor.scale_file, tensor.scale_name(), {shape[0], 1}, ", one scale a row");
  expect_numbers(*tensor.scale_file, tensor.scale_name());
  return tensor;
}

StoredTensor StoredWeights::at(const std::string& name, const std::vector<int64_t>& shape) const {
  const std::optional<StoredTensor> tensor = find(name, shape);
  if (tensor) return *tensor;
  throw Error(ErrorCode::kInvalidFormat, files_.folder().string(), ": the tensor \"", name,
              "\" is missing");
}

bool StoredWeights::has_scales(const std::string& name) const {
  const SafetensorsFile* file = files_.find(name);
  return file != nullptr && file->tensor(name).type == DataType::kI8 &&
         files_.find(name + std::string(kScaleEnd)) != nullptr;
}

bool StoredWeights::is_scale(const std::string& name) const {
  return name.ends_with(kScaleEnd) && has_scales(name.substr(0, name.size() - kScaleEnd.size()));
}

std::vector<std::string> StoredWeights::names() const {
  std::vector<std::string> names;
  for (std::string& name : files_.names()) {
    if (!is_scale(name)) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace msa::model
