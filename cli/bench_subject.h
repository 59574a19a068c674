#pragma once
// What the stages of msa bench that run a model share: the model, its inputs, its limits.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/kernels/weight_rows.h"
#include "msa/memory/chunk_source.h"
#include "msa/memory/encoded_documents.h"
#include "msa/model/session.h"

namespace msa::model {
class GpuModel;
struct PromptHead;
class Transformer;
}  // namespace msa::model

namespace msa::cli {

struct SubjectFlags {
  ModelFlags model;
  std::string shape;

  void add_to(CLI::App& command);

  /// The config of the shape or, where none is given, of the model.
  model::ModelConfig config() const;
};

/// What is measured: a model folder, or random weights of a shape.
class Subject {
 public:
  Subject(const SubjectFlags& flags, bool prefers_bf16);
  ~Subject();

  const model::ModelConfig& config() const;
  bool is_exact() const;          // float32 on the CPU
  std::string_view type() const;  // of the weights that are decoded with
  std::string place() const;      // the GPU's name, or how many threads
  int64_t num_parameters() const;
  double bytes_decoded() const;     // that a token's step reads of the matrices
  const kernels::Gpu* gpu() const;  // null on the CPU

  /// How far the logits of steps may be from those of a prefill, of the largest one.
  double tolerance() const;

  memory::EncodedDocuments encode(std::span<const std::vector<int32_t>> documents) const;

  /// `memory`: null for none; else on the GPU if the model is.
  std::unique_ptr<model::Session> new_session(const memory::ChunkSource* memory) const;

 private:
  const model::Transformer& transformer() const;

  std::unique_ptr<engine::LoadedModel> loaded_;
  std::unique_ptr<model::Transformer> transformer_;
  std::unique_ptr<const model::PromptHead> no_head_;
  std::unique_ptr<kernels::Gpu> gpu_;
  std::unique_ptr<model::GpuModel> gpu_model_;
  std::string gpu_name_;
  kernels::WeightType weight_type_ = kernels::WeightType::kBFloat16;
};

/// Values of the matrices that a token meets in the layers and, if it is decoded, in the
/// vocabulary's.
double values_met(const model::ModelConfig& config, bool is_decoded);

/// Bytes a second that the GPU reads at most, measured on 2 GiB.
double read_limit(const kernels::Gpu& gpu, const BenchFlags& flags);

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, Noise& noise);

/// Largest difference of two lists, NaN if a value is; infinite if they differ in length.
double largest_difference(std::span<const float> a, std::span<const float> b);

}  // namespace msa::cli
