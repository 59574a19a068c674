#include "msa/train/model_folder.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/model/int8_config.h"
#include "msa/train/guard.h"
#include "msa/train/stored_tensor.h"

namespace msa::train {

void write_model_folder(FileSystem& files, const std::filesystem::path& folder,
                        const Parameters& parameters, const ModelFolderOptions& options) {
  const std::vector<std::string> names = not_finite(parameters.all());
  if (!names.empty()) {
    throw Error(ErrorCode::kInternal, "no model folder: tensor \"", names[0],
                "\" holds a value that is not finite");
  }
  const bool is_float32 = options.numbers == Numbers::kFloat32;
  std::vector<storage::TensorStream> tensors;
  for (const NamedTensor& parameter : parameters.all()) {
    const auto write = [&parameter, is_float32](const storage::Append& append) {
      const at::Tensor rounded =
          parameter.tensor.detach().to(is_float32 ? at::kFloat : at::kBFloat16);
      const NamedTensor on_host = to_host({.name = parameter.name, .tensor = rounded});
      append(to_write(on_host).bytes);
    };
    tensors.push_back({.name = parameter.name,
                       .type = is_float32 ? storage::DataType::kF32 : storage::DataType::kBF16,
                       .shape = parameter.tensor.sizes().vec(),
                       .write = write});
  }
  Json config = parameters.config().raw;
  config.erase(model::kQuantizationKey);
  config["torch_dtype"] = is_float32 ? "float32" : "bfloat16";
  model::write_model_folder(files, folder,
                            {.config = std::move(config),
                             .tensors = tensors,
                             .tokenizer = options.tokenizer,
                             .card = {},
                             .max_shard_bytes = options.max_shard_bytes});
}

}  // namespace msa::train
