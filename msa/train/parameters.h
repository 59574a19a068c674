#pragma once
// The weights that a run learns: float32 leaves of the autograd graph by their Hugging Face names.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/model/config.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

/// The set of tensors never changes; their values do. One thread at a time.
class Parameters {
 public:
  /// Normal numbers of deviation K^-0.5 for a matrix [N, K], half of that for o_proj and
  /// down_proj, 0.02 for embeddings and head; ones for norms; routers tied. The same on every
  /// machine for the same seed.
  static Parameters random(const model::ModelConfig& config, uint64_t seed);

  /// Reads a model folder of the config, in any of the types of StoredWeights. A temperature or b
  /// that is not there begins as infonce_loss_temp says, else 0.1, and -20. Throws
  /// Error(kInvalidFormat) naming the tensor if one is missing, belongs to no layer, has another
  /// shape or type, or holds a value that is not finite.
  static Parameters load(FileSystem& files, const std::filesystem::path& folder,
                         const model::ModelConfig& config);

  /// In the order of model::parameter_shapes. Tensors share their data with the parameters.
  const std::vector<NamedTensor>& all() const { return all_; }

  bool has(const std::string& name) const { return places_.contains(name); }

  /// Throws Error(kInvalidArgument) if there is no such parameter.
  const at::Tensor& operator[](const std::string& name) const;

  /// The same, undefined if there is none: what gather_tensors asks for.
  at::Tensor find(const std::string& name) const;

  /// Sum of all their elements.
  int64_t num_values() const;

  /// New leaves on another device; gradients stay behind.
  void move_to(at::Device device);

  /// Overwrites values; `values` must have exactly the names and shapes of all(). Throws
  /// Error(kMismatch) naming the first that does not fit; nothing has changed then.
  void copy_from(const std::vector<NamedTensor>& values);

  /// router_q of every query head = router_k of its kv head, in every router layer. First
  /// router_k = k_proj if `from_attention_keys`. Nothing where the model has no own routers.
  void tie_routers(bool from_attention_keys = false);

  /// Router weights as random() would draw them, not tied. Nothing where there are none.
  void draw_routers(uint64_t seed);

  /// Parameters of the routers, and nothing else, get gradients; or all do.
  void train_routers_alone(bool routers_alone);

  /// Sets the temperature into the range of its loss, where its gradient would end.
  void clamp_temperature();

  const model::ModelConfig& config() const { return config_; }

 private:
  explicit Parameters(model::ModelConfig config);
  void add(const std::string& name, at::Tensor value);

  model::ModelConfig config_;
  std::vector<NamedTensor> all_;
  std::map<std::string, size_t> places_;
};

}  // namespace msa::train
