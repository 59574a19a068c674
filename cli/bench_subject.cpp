#include "cli/bench_subject.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/cpu_session.h"
#include "msa/model/gpu_model.h"
#include "msa/model/random_weights.h"
#include "msa/model/transformer.h"

namespace msa::cli {
void SubjectFlags::add_to(CLI::App& command) {
  model.add_to(command);
  add_flag(command, "--shape", shape,
           "Random bf16 weights for this config.json, in place of --model");
}

model::ModelConfig SubjectFlags::config() const {
  if (shape.empty()) {
    return model::load_config(real_file_system(), model.model_folder(), model.config_options());
  }
  return model::parse_config(parse_json(read_file(real_file_system(), shape, 1 << 20), shape),
                             shape, model.config_options());
}

Subject::Subject(const SubjectFlags& flags, bool prefers_bf16) {
  if (flags.shape.empty()) {
    loaded_ = flags.model.load(prefers_bf16);
    if (loaded_->gpu() == nullptr) return;
    gpu_name_ = loaded_->gpu()->facts().name;
    weight_type_ = kernels::weight_type_of(flags.model.weights);
    return;
  }
  if (flags.model.threads != 0) set_num_threads(flags.model.threads);
  auto config = flags.config();
  auto weights = model::random_weights(config, 1);
  transformer_ = model::Transformer::of(std::move(config), std::move(weights));
  gpu_ = flags.model.open_gpu();
  if (gpu_ == nullptr) return;
  gpu_name_ = gpu_->facts().name;
  weight_type_ = kernels::weight_type_of(flags.model.weights);
  no_head_ = std::make_unique<const model::PromptHead>();
  gpu_model_ = std::make_unique<model::GpuModel>(*gpu_, *transformer_, *no_head_, weight_type_);
}

Subject::~Subject() = default;

const model::ModelConfig& Subject::config() const { return transformer().config(); }

const model::Transformer& Subject::transformer() const {
  return loaded_ != nullptr ? loaded_->transformer() : *transformer_;
}

bool Subject::is_exact() const {
  return gpu_name_.empty() && transformer().precision() == model::Precision::kFloat32;
}

std::string_view Subject::type() const { return is_exact() ? "f32" : name_of(weight_type_); }

double Subject::tolerance() const {
  // int8 and int4 lose about 0.7 and 8 % of a product; float32 differs by the order of sums.
  return is_exact() ? 1e-4 : weight_type_ == kernels::WeightType::kInt4 ? 0.4 : 5e-2;
}

std::string Subject::place() const {
  return gpu_name_.empty() ? std::to_string(num_threads()) + " threads" : gpu_name_;
}

int64_t Subject::num_parameters() const { return transformer().weights().num_parameters; }

double Subject::bytes_decoded() const {
  const model::ModelConfig& c = config();
  if (weight_type_ == kernels::WeightType::kBFloat16) {
    return values_met(c, true) *
           static_cast<double>(transformer().weights().step.head.element_size());
  }
  const auto row_bytes = [&](int64_t columns) {
    return static_cast<double>(kernels::weight_layout(weight_type_, columns).row_bytes);
  };
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  const double layer = static_cast<double>(2 * kv + q + 2 * c.ffn_dim) * row_bytes(c.embed_dim) +
                       static_cast<double>(c.embed_dim) * (row_bytes(q) + row_bytes(c.ffn_dim));
  return static_cast<double>(c.num_layers) * layer +
         static_cast<double>(c.vocab_size) * row_bytes(c.embed_dim);
}

const kernels::Gpu* Subject::gpu() const {
  return loaded_ != nullptr ? loaded_->gpu() : gpu_.get();
}

memory::EncodedDocuments Subject::encode(std::span<const std::vector<int32_t>> documents) const {
  if (loaded_ != nullptr) return loaded_->encode_documents(documents);
  return gpu_model_ != nullptr ? gpu_model_->encode_documents(documents)
                               : transformer_->encode_documents(documents);
}

std::unique_ptr<model::Session> Subject::new_session(const memory::ChunkSource* memory) const {
  if (loaded_ != nullptr) return loaded_->new_session(memory);
  const model::SessionOptions options{.head = nullptr, .memory = memory, .first_position = 0};
  if (gpu_model_ != nullptr) return gpu_model_->new_session(options);
  return std::make_unique<model::CpuSession>(*transformer_, options);
}

double values_met(const model::ModelConfig& c, bool is_decoded) {
  const auto q = static_cast<double>(c.num_heads * c.head_dim);
  const auto kv = static_cast<double>(c.num_kv_heads * c.head_dim);
  const auto embed = static_cast<double>(c.embed_dim);
  const auto ffn = static_cast<double>(c.ffn_dim);
  const auto layers = static_cast<double>(c.num_layers);
  const double all = layers * embed * (2 * kv + 2 * q + 3 * ffn);
  if (is_decoded) return all + embed * static_cast<double>(c.vocab_size);
  // Routing keys are projected too; behind the last layer's keys nothing is.
  const auto routers = static_cast<double>(c.msa.router_layers.size());
  return all + routers * embed * kv - embed * (2 * q + 3 * ffn);
}

double read_limit(const kernels::Gpu& gpu, const BenchFlags& flags) {
  const kernels::GpuBuffer memory(gpu, int64_t{2} << 30);
  const kernels::GpuBuffer sum(gpu, 16);
  const Times times = time_runs(flags, [&] {
    gpu.library().read_all(memory.data(), memory.size(), reinterpret_cast<uint32_t*>(sum.data()),
                           nullptr);
    gpu.library().synchronize();
  });
  return static_cast<double>(memory.size()) / times.best;
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, Noise& noise) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto unit = (noise.next() + 2.0F) / 4.0F;
    tokens.push_back(static_cast<int32_t>(unit * static_cast<float>(vocab_size - 1)));
  }
  return tokens;
}

double largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) return difference;
  }
  return largest;
}

}  // namespace msa::cli
