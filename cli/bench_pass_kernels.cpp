// Kernels of many tokens: products, attention, and what stands between them.

#include <algorithm>
#include <cmath>

#include "cli/bench_kernels.h"
#include "msa/kernels/attention.h"
#include "msa/kernels/pool_chunks.h"

namespace msa::cli {
namespace {

std::vector<float> widened(std::span<const BFloat16> values) {
  std::vector<float> wide(values.size());
  std::ranges::transform(values, wide.begin(), to_float);
  return wide;
}

struct Matrix {
  const char* name;
  int64_t num_outputs;
  int64_t num_columns;
};

std::vector<Matrix> matrices(const model::ModelConfig& c) {
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  return {{"input", 2 * kv + q, c.embed_dim},
          {"output", c.embed_dim, q},
          {"gate and up", 2 * c.ffn_dim, c.embed_dim},
          {"down", c.embed_dim, c.ffn_dim}};
}

/// Some of the products against sums in double.
void bench_products(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens) {
  const kernels::GpuBuffer workspace(bench.gpu(), kernels::kDeviceGemmWorkspaceBytes);
  for (const Matrix& matrix : matrices(config)) {
    const int64_t k = matrix.num_columns;
    const auto x = bench.bfloat16s(num_tokens * k);
    const auto weight = bench.bfloat16s(matrix.num_outputs * k, 0.02F);
    const kernels::GpuArray<BFloat16> out(bench.gpu(), num_tokens * matrix.num_outputs);
    const auto run = [&](int64_t) {
      bench.library().device_gemm({.x = x.device.data(),
                                   .weight = weight.device.data(),
                                   .out = out.data(),
                                   .num_rows = num_tokens,
                                   .num_outputs = matrix.num_outputs,
                                   .num_columns = k},
                                  workspace.data(), bench.stream());
    };
    const std::string name = std::string("device_gemm, ") + matrix.name;
    run(0);
    const auto all = bench.to_host(out);
    std::vector<float> got;
    std::vector<float> wanted;
    for (int64_t i = 0; i < 64; ++i) {
      const int64_t token = i * 7919 % num_tokens;
      const int64_t output = i * 104729 % matrix.num_outputs;
      double sum = 0;
      for (int64_t n = 0; n < k; ++n) {
        sum += static_cast<double>(to_float(x.host[token * k + n])) *
               to_float(weight.host[output * k + n]);
      }
      got.push_back(to_float(all[token * matrix.num_outputs + output]));
      wanted.push_back(static_cast<float>(sum));
    }
    KernelBench::expect_near(name, got, wanted, 1.0 / 128);
    bench.report(
        name, "TFLOP/s",
        2.0 * static_cast<double>(num_tokens * matrix.num_outputs) * static_cast<double>(k),
        bench.limits().products, run);
  }
}

/// Documents side by side; the last one's last queries against the CPU.
void bench_attention(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens,
                     int64_t length) {
  std::vector<int32_t> first{0};
  double operations = 0;
  while (first.back() < num_tokens) {
    const int64_t own = std::min(length, num_tokens - first.back());
    first.push_back(first.back() + static_cast<int32_t>(own));
    operations += 2.0 * static_cast<double>(own * (own + 1)) *
                  static_cast<double>(config.num_heads * config.head_dim);
  }
  const auto num_sequences = static_cast<int64_t>(first.size()) - 1;
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  const auto query = bench.bfloat16s(num_tokens * q);
  const auto key = bench.bfloat16s(num_tokens * kv);
  const auto value = bench.bfloat16s(num_tokens * kv);
  const kernels::GpuArray<BFloat16> out(bench.gpu(), num_tokens * q);
  const kernels::GpuArray<int32_t> borders(bench.gpu(), std::span<const int32_t>(first));
  const float scale = 1 / std::sqrt(static_cast<float>(config.head_dim));
  const auto run = [&](int64_t) {
    bench.library().packed_attention({.query = query.device.data(),
                                      .key = key.device.data(),
                                      .value = value.device.data(),
                                      .out = out.data(),
                                      .query_first = borders.data(),
                                      .key_first = borders.data(),
                                      .num_queries = num_tokens,
                                      .num_keys = num_tokens,
                                      .num_sequences = num_sequences,
                                      .most_queries = std::min(length, num_tokens),
                                      .num_heads = config.num_heads,
                                      .num_kv_heads = config.num_kv_heads,
                                      .head_dim = config.head_dim,
                                      .scale = scale},
                                     bench.stream());
  };
  run(0);
  const int64_t begin = first[num_sequences - 1];
  const int64_t own = num_tokens - begin;
  const std::vector<int64_t> only{0, own};
  const auto wide_query = widened(std::span(query.host).subspan(begin * q));
  const auto wide_key = widened(std::span(key.host).subspan(begin * kv));
  const auto wide_value = widened(std::span(value.host).subspan(begin * kv));
  std::vector<float> wanted(own * q);
  const int64_t last_block = (own - 1) / kernels::kAttentionBlock * kernels::kAttentionBlock;
  for (int64_t head = 0; head < config.num_kv_heads; ++head) {
    kernels::attention_block({.query = wide_query.data(),
                              .key = wide_key.data(),
                              .value = wide_value.data(),
                              .out = wanted.data(),
                              .query_first = only.data(),
                              .key_first = only.data(),
                              .num_heads = config.num_heads,
                              .num_kv_heads = config.num_kv_heads,
                              .head_dim = config.head_dim,
                              .scale = scale},
                             0, last_block, head);
  }
  const auto all = bench.to_host(out);
  const auto got = widened(std::span(all).subspan((begin + last_block) * q));
  KernelBench::expect_near("packed_attention", got, std::span(wanted).subspan(last_block * q),
                           1e-2);
  bench.report("packed_attention, documents of " + std::to_string(std::min(length, num_tokens)),
               "TFLOP/s", operations, bench.limits().products, run);
}

void bench_rows(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens) {
  const int64_t embed = config.embed_dim;
  const auto x = bench.floats(num_tokens * embed);
  const auto weight = bench.floats(embed);
  const kernels::GpuArray<BFloat16> normed(bench.gpu(), num_tokens * embed);
  kernels::RmsNormParams norm{.x = x.device.data(),
                              .weight = weight.device.data(),
                              .out = normed.data(),
                              .out_type = kernels::NumberType::kBFloat16,
                              .dim = embed,
                              .eps = 1e-6F};
  const auto run_norm = [&](int64_t) {
    bench.library().rms_norm(norm, num_tokens, bench.stream());
  };
  run_norm(0);
  const auto got = widened(bench.to_host(normed));
  std::vector<float> wanted(num_tokens * embed);
  const kernels::RmsNormParams on_host{.x = x.host.data(),
                                       .weight = weight.host.data(),
                                       .out = wanted.data(),
                                       .dim = embed,
                                       .eps = 1e-6F};
  kernels::rms_norm(on_host, 0, num_tokens);
  KernelBench::expect_near("rms_norm", got, wanted, 1.0 / 128);
  const auto rows = static_cast<double>(num_tokens);
  bench.report("rms_norm", "GB/s", rows * static_cast<double>(embed) * 6, bench.limits().copy,
               run_norm);

  const int64_t ffn = config.ffn_dim;
  const auto gate_up = bench.bfloat16s(num_tokens * 2 * ffn);
  const kernels::GpuArray<BFloat16> gated(bench.gpu(), num_tokens * ffn);
  const auto run_swiglu = [&](int64_t) {
    bench.library().swiglu({.gate_up = gate_up.device.data(),
                            .out = gated.data(),
                            .type = kernels::NumberType::kBFloat16,
                            .dim = ffn},
                           num_tokens, bench.stream());
  };
  run_swiglu(0);
  const auto few = std::min<int64_t>(num_tokens, 64);
  const auto wide = widened(std::span(gate_up.host).first(few * 2 * ffn));
  std::vector<float> wanted_gated(few * ffn);
  kernels::swiglu({.gate_up = wide.data(), .out = wanted_gated.data(), .dim = ffn}, 0, few);
  const auto all = bench.to_host(gated);
  KernelBench::expect_near("swiglu", widened(std::span(all).first(few * ffn)), wanted_gated,
                           1.0 / 128);
  bench.report("swiglu", "GB/s", rows * static_cast<double>(ffn) * 6, bench.limits().copy,
               run_swiglu);
}

/// Keys, values and routing keys of one document after another.
void bench_pooling(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens,
                   int64_t length) {
  const int64_t dim = config.num_kv_heads * config.head_dim;
  const int64_t chunk_tokens = config.msa.chunk_tokens;
  std::vector<int64_t> offsets{0};
  std::vector<int64_t> first_chunk{0};
  while (offsets.back() < num_tokens) {
    const int64_t own = std::min(length, num_tokens - offsets.back());
    offsets.push_back(offsets.back() + own);
    first_chunk.push_back(first_chunk.back() + (own + chunk_tokens - 1) / chunk_tokens);
  }
  const auto row = bench.bfloat16s(num_tokens * 3 * dim);
  const kernels::GpuArray<int64_t> device_offsets(bench.gpu(), std::span<const int64_t>(offsets));
  const kernels::GpuArray<int64_t> device_chunks(bench.gpu(),
                                                 std::span<const int64_t>(first_chunk));
  const kernels::GpuArray<float> pooled(bench.gpu(), 3 * first_chunk.back() * dim);
  kernels::PoolPlanesParams params;
  params.num_planes = 3;
  for (int i = 0; i < 3; ++i) {
    params.plane[i] = {.row = row.device.data() + i * dim,
                       .row_stride = 3 * dim,
                       .pooled = pooled.data() + i * first_chunk.back() * dim,
                       .normalizes = i == 2};
  }
  params.offsets = device_offsets.data();
  params.first_chunk = device_chunks.data();
  params.num_documents = static_cast<int64_t>(offsets.size()) - 1;
  params.num_chunks = first_chunk.back();
  params.num_kv_heads = config.num_kv_heads;
  params.head_dim = config.head_dim;
  params.chunk_tokens = chunk_tokens;
  const auto run = [&](int64_t) { bench.library().pool_chunks(params, bench.stream()); };
  run(0);
  std::vector<float> routing_key;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const auto* from = row.host.data() + (t * 3 + 2) * dim;
    for (int64_t i = 0; i < dim; ++i) routing_key.push_back(to_float(from[i]));
  }
  std::vector<float> wanted(first_chunk.back() * dim);
  kernels::pool_chunks({.row = routing_key.data(),
                        .offsets = offsets.data(),
                        .first_chunk = first_chunk.data(),
                        .pooled = wanted.data(),
                        .num_kv_heads = config.num_kv_heads,
                        .head_dim = config.head_dim,
                        .chunk_tokens = chunk_tokens,
                        .normalizes = true},
                       0, params.num_documents);
  const auto got = bench.to_host(pooled);
  KernelBench::expect_near("pool_chunks",
                           std::span(got).last(static_cast<size_t>(first_chunk.back() * dim)),
                           wanted, 1e-5);
  bench.report(
      "pool_chunks, k, v and routing keys", "GB/s",
      3.0 * static_cast<double>(dim) *
          (2.0 * static_cast<double>(num_tokens) + 4.0 * static_cast<double>(first_chunk.back())),
      bench.limits().read, run);
}

}  // namespace

void bench_pass_kernels(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens,
                        int64_t length) {
  bench_products(bench, config, num_tokens);
  bench_attention(bench, config, num_tokens, length);
  bench_rows(bench, config, num_tokens);
  bench_pooling(bench, config, num_tokens, length);
}

}  // namespace msa::cli
