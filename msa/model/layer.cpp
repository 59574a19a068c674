#include "msa/model/layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/pow.h>

#include "msa/base/error.h"
#include "msa/ops/elementwise.h"
#include "msa/ops/linear.h"

namespace msa::model {

RopeAngles rope_angles(const ModelConfig& config, const at::Tensor& positions) {
  const auto exponent = at::arange(0, config.head_dim, 2, at::kDouble) / config.head_dim;
  const auto frequency = at::pow(config.rope_theta, -exponent);
  const auto angle = positions.to(at::kDouble).unsqueeze(1) * frequency;
  return {angle.cos().to(at::kFloat), angle.sin().to(at::kFloat)};
}

InputRows input_rows(const ModelConfig& config, const LayerWeights& layer, Pass pass) {
  const int64_t kv = 2 * config.num_kv_heads * config.head_dim;
  const int64_t q = config.num_heads * config.head_dim;
  switch (pass) {
    case Pass::kDocument:
      return {0, layer.router_key_rows + kv + q};
    case Pass::kLastDocument:
      return {0, layer.router_key_rows + kv};
    case Pass::kQuestion:
      return {layer.router_key_rows, kv + q + layer.router_query_rows};
    case Pass::kContinuation:
      return {layer.router_key_rows, kv + q};
  }
  throw Error(ErrorCode::kInternal, "input_rows: unknown pass");
}

Projections project(const ModelConfig& config, const LayerWeights& layer, const at::Tensor& x,
                    const RopeAngles& angles, Pass pass, bool has_router) {
  const int64_t num_tokens = x.size(0);
  const int64_t head_dim = config.head_dim;
  const InputRows rows = input_rows(config, layer, pass);
  const auto normed = ops::rms_norm(x, layer.input_norm, config.rms_eps, layer.input.scalar_type());
  const auto joint = ops::linear(normed, layer.input.narrow(0, rows.first, rows.count));

  int64_t column = 0;
  const auto take = [&](int64_t num_heads) {
    const auto part = joint.narrow(1, column, num_heads * head_dim);
    column += num_heads * head_dim;
    return part.unflatten(1, {num_heads, head_dim});
  };
  const auto plain = [](const at::Tensor& part) { return part.to(at::kFloat).contiguous(); };
  const auto rotated = [&](const at::Tensor& part, const at::Tensor& norm) {
    return ops::norm_rope(part, norm, config.rms_eps, angles.cosine, angles.sine);
  };

  const bool is_document = pass == Pass::kDocument || pass == Pass::kLastDocument;
  Projections out;
  if (is_document && layer.router_key_rows > 0) out.routing_key = plain(take(config.num_kv_heads));
  out.k = rotated(take(config.num_kv_heads), layer.k_norm);
  out.v = plain(take(config.num_kv_heads));
  if (pass != Pass::kLastDocument) out.q = rotated(take(config.num_heads), layer.q_norm);
  if (pass == Pass::kQuestion && layer.router_query_rows > 0) {
    out.routing_query = plain(take(config.num_heads));
  }
  if (has_router && !config.msa.has_own_router) {
    if (is_document) out.routing_key = out.k;
    if (pass == Pass::kQuestion) out.routing_query = out.q;
  }
  MSA_CHECK(out.k.size(0) == num_tokens, "project: lost rows");
  return out;
}

at::Tensor finish_layer(const ModelConfig& config, const LayerWeights& layer, const at::Tensor& x,
                        const at::Tensor& attention) {
  const auto type = layer.output.scalar_type();
  const auto middle = ops::add(x, ops::linear(attention.to(type), layer.output));
  const auto normed = ops::rms_norm(middle, layer.post_norm, config.rms_eps, type);
  const auto gated = ops::swiglu(ops::linear(normed, layer.gate_up));
  return ops::add(middle, ops::linear(gated, layer.down));
}

at::Tensor embed(const Weights& weights, std::span<const int32_t> tokens) {
  const int64_t vocab_size = weights.embedding.size(0);
  auto ids = at::empty({static_cast<int64_t>(tokens.size())}, at::kLong);
  int64_t* id = ids.data_ptr<int64_t>();
  for (const int32_t token : tokens) {
    MSA_CHECK(token >= 0 && token < vocab_size, "token id must be in [0, ", vocab_size, "), got ",
              token);
    *id++ = token;
  }
  return weights.embedding.index_select(0, ids).to(at::kFloat);
}

at::Tensor vocabulary_logits(const ModelConfig& config, const Weights& weights,
                             const at::Tensor& x) {
  const auto normed =
      ops::rms_norm(x, weights.final_norm, config.rms_eps, weights.head.scalar_type());
  return ops::linear(normed, weights.head).to(at::kFloat);
}

}  // namespace msa::model
