#include "msa/model/gpu_pass.h"

#include "msa/base/error.h"
#include "msa/kernels/device_gemm.h"

namespace msa::model {
namespace {

// A product of many rows takes whole steps: its way is chosen once for every number of rows.
constexpr int64_t kRowStep = 128;
constexpr int64_t kManyRows = 512;

int64_t whole_steps(int64_t rows) { return (rows + kRowStep - 1) / kRowStep * kRowStep; }

}  // namespace

GpuPass::GpuPass(const kernels::Gpu& gpu, const ModelConfig& config, const GpuWeights& weights,
                 int64_t capacity)
    : gpu_(gpu),
      config_(config),
      weights_(weights),
      capacity_(whole_steps(capacity)),
      tokens_(gpu, capacity_),
      positions_(gpu, capacity_),
      x_(gpu, capacity_ * config.embed_dim),
      normed_(gpu, capacity_ * config.embed_dim),
      joint_(gpu, capacity_ * 2 * (config.num_kv_heads + config.num_heads) * config.head_dim),
      query_(gpu, capacity_ * config.num_heads * config.head_dim),
      attended_(gpu, capacity_ * config.num_heads * config.head_dim),
      gate_up_(gpu, capacity_ * 2 * config.ffn_dim),
      gated_(gpu, capacity_ * config.ffn_dim),
      workspace_(gpu, kernels::kDeviceGemmWorkspaceBytes) {}

void GpuPass::set_tokens(std::span<const int32_t> tokens, kernels::CudaStream stream) {
  const auto count = static_cast<int64_t>(tokens.size());
  MSA_CHECK(count <= capacity_, "a pass of ", count, " tokens; there is room for ", capacity_);
  for (const int32_t token : tokens) {
    MSA_CHECK(token >= 0 && token < config_.vocab_size, "token id must be in [0, ",
              config_.vocab_size, "), got ", token);
  }
  const auto& library = gpu_.library();
  library.copy_async(tokens_.data(), tokens.data(), 4 * count, stream);
  library.embed_rows({.embedding = weights_.embedding.data(),
                      .type = kernels::NumberType::kBFloat16,
                      .token = tokens_.data(),
                      .x = x_.data(),
                      .num_tokens = count,
                      .dim = config_.embed_dim},
                     stream);
}

void GpuPass::set_positions(std::span<const int32_t> positions, kernels::CudaStream stream) {
  MSA_CHECK(static_cast<int64_t>(positions.size()) <= capacity_, positions.size(),
            " positions; there is room for ", capacity_);
  for (const int32_t position : positions) {
    MSA_CHECK(position < weights_.num_positions, "position ", position, ": this model has ",
              weights_.num_positions, " on a GPU");
  }
  gpu_.library().copy_async(positions_.data(), positions.data(),
                            4 * static_cast<int64_t>(positions.size()), stream);
}

void GpuPass::multiply(const BFloat16* x, const BFloat16* weight, void* out, int64_t rows,
                       int64_t outputs, int64_t columns, bool adds, kernels::CudaStream stream) {
  gpu_.library().device_gemm(
      {.x = x,
       .weight = weight,
       .out = out,
       .out_type = adds ? kernels::NumberType::kFloat32 : kernels::NumberType::kBFloat16,
       .num_rows = rows,
       .num_outputs = outputs,
       .num_columns = columns,
       .adds = adds},
      workspace_.data(), stream);
}

void GpuPass::project(int64_t layer, const InputRows& rows, int64_t first, int64_t count,
                      kernels::CudaStream stream) {
  const GpuLayerWeights& w = weights_.layers[layer];
  gpu_.library().rms_norm({.x = x_.data() + first * config_.embed_dim,
                           .weight = w.input_norm.data(),
                           .out = normed_.data(),
                           .out_type = kernels::NumberType::kBFloat16,
                           .dim = config_.embed_dim,
                           .eps = static_cast<float>(config_.rms_eps)},
                          count, stream);
  const int64_t filled = count < kManyRows ? count : whole_steps(count);
  multiply(normed_.data(), w.input.data() + rows.first * config_.embed_dim, joint_.data(), filled,
           rows.count, config_.embed_dim, false, stream);
}

void GpuPass::spread(int64_t layer, const InputRows& rows, bool is_document, bool has_query,
                     int64_t first, int64_t count, BFloat16* key, BFloat16* value,
                     const int32_t* first_row, kernels::CudaStream stream) {
  const GpuLayerWeights& w = weights_.layers[layer];
  const int64_t kv = config_.num_kv_heads * config_.head_dim;
  const int64_t heads = 2 * kv + (has_query ? config_.num_heads * config_.head_dim : 0);
  // A document's rows are [rk k v q], a question's [k v q rq].
  const int64_t column = is_document ? rows.count - heads : 0;
  gpu_.library().spread_heads({.joint = joint_.data(),
                               .row_stride = rows.count,
                               .first_column = column,
                               .q_norm = w.q_norm.data(),
                               .k_norm = w.k_norm.data(),
                               .cosine = weights_.cosine.data(),
                               .sine = weights_.sine.data(),
                               .position = positions_.data() + first,
                               .query = has_query ? query_.data() : nullptr,
                               .key = key,
                               .value = value,
                               .first_row = first_row,
                               .num_tokens = count,
                               .num_heads = config_.num_heads,
                               .num_kv_heads = config_.num_kv_heads,
                               .head_dim = config_.head_dim,
                               .eps = static_cast<float>(config_.rms_eps)},
                              stream);
}

void GpuPass::finish(int64_t layer, int64_t first, int64_t count, kernels::CudaStream stream) {
  const GpuLayerWeights& w = weights_.layers[layer];
  const int64_t embed = config_.embed_dim;
  const int64_t ffn = config_.ffn_dim;
  float* x = x_.data() + first * embed;
  // Rows behind `count` belong to nobody while a pass runs from row 0.
  const int64_t filled = count < kManyRows || first > 0 ? count : whole_steps(count);
  multiply(attended_.data(), w.output.data(), x, filled, embed,
           config_.num_heads * config_.head_dim, true, stream);
  gpu_.library().rms_norm({.x = x,
                           .weight = w.post_norm.data(),
                           .out = normed_.data(),
                           .out_type = kernels::NumberType::kBFloat16,
                           .dim = embed,
                           .eps = static_cast<float>(config_.rms_eps)},
                          count, stream);
  multiply(normed_.data(), w.gate_up.data(), gate_up_.data(), filled, 2 * ffn, embed, false,
           stream);
  gpu_.library().swiglu({.gate_up = gate_up_.data(),
                         .out = gated_.data(),
                         .type = kernels::NumberType::kBFloat16,
                         .dim = ffn},
                        count, stream);
  multiply(gated_.data(), w.down.data(), x, filled, embed, ffn, true, stream);
}

}  // namespace msa::model
