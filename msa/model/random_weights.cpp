#include "msa/model/random_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "msa/base/bfloat16.h"
#include "msa/base/threads.h"

namespace msa::model {
namespace {

/// splitmix64.
uint64_t next(uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Uniform in [-width, width), row by row from a seed of its own.
at::Tensor random_matrix(int64_t rows, int64_t columns, double width, uint64_t& seed) {
  auto matrix = at::empty({rows, columns}, at::kBFloat16);
  auto* values = static_cast<BFloat16*>(matrix.data_ptr());
  const uint64_t first = next(seed);
  parallel_for(rows, [&](int64_t row) {
    uint64_t state = first + static_cast<uint64_t>(row) * 0x632be59bd9b4e019U;
    for (int64_t i = 0; i < columns; ++i) {
      const auto unit = static_cast<float>(next(state) >> 40) * 0x1p-23F - 1.0F;
      values[row * columns + i] = to_bfloat16(unit * static_cast<float>(width));
    }
  });
  return matrix;
}

}  // namespace

Weights random_weights(const ModelConfig& config, uint64_t seed) {
  const c10::InferenceMode guard;
  const int64_t embed = config.embed_dim;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  const auto linear = [&](int64_t rows, int64_t columns) {
    return random_matrix(rows, columns, std::sqrt(3.0 / static_cast<double>(columns)), seed);
  };
  Weights weights;
  weights.precision = Precision::kBFloat16;
  weights.embedding = random_matrix(config.vocab_size, embed, 0.05, seed);
  weights.final_norm = at::ones({embed});
  weights.head = config.ties_embeddings ? weights.embedding : linear(config.vocab_size, embed);
  weights.num_parameters =
      weights.embedding.numel() + embed + (config.ties_embeddings ? 0 : weights.head.numel());
  for (int64_t n = 0; n < config.num_layers; ++n) {
    LayerWeights layer;
    layer.input_norm = at::ones({embed});
    layer.post_norm = at::ones({embed});
    layer.q_norm = at::ones({config.head_dim});
    layer.k_norm = at::ones({config.head_dim});
    if (config.router_slot(n) >= 0 && config.msa.has_own_router) {
      layer.router_key_rows = kv;
      layer.router_query_rows = q;
    }
    layer.input = linear(layer.router_key_rows + 2 * kv + q + layer.router_query_rows, embed);
    layer.output = linear(embed, q);
    layer.gate_up = linear(2 * config.ffn_dim, embed);
    layer.down = linear(embed, config.ffn_dim);
    for (const at::Tensor& part : {layer.input_norm, layer.post_norm, layer.q_norm, layer.k_norm,
                                   layer.input, layer.output, layer.gate_up, layer.down}) {
      weights.num_parameters += part.numel();
    }
    weights.layers.push_back(layer);
  }
  weights.step.head = weights.head;
  weights.step.layers = weights.layers;
  weights.fingerprint = "random";
  return weights;
}

}  // namespace msa::model
