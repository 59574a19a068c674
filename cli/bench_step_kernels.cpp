// Kernels of one token: products of a matrix with a vector, and attention over a cache.

#include <algorithm>
#include <cmath>

#include "cli/bench_kernels.h"
#include "msa/kernels/attention.h"
#include "msa/kernels/gemv.h"
#include "msa/kernels/quantize_rows.h"

namespace msa::cli {
namespace {

constexpr int64_t kColdBytes = int64_t{256} << 20;  // more than any cache holds

struct Matrix {
  const char* name;
  int64_t num_rows;
  int64_t num_columns;
};

/// The same matrix several times, so that no run finds it in a cache.
template <typename Value>
kernels::GpuArray<Value> copies_of(const KernelBench& bench, std::span<const Value> values,
                                   int64_t& count) {
  const auto own = static_cast<int64_t>(values.size());
  count = std::max<int64_t>(1, kColdBytes / (own * static_cast<int64_t>(sizeof(Value))));
  kernels::GpuArray<Value> all(bench.gpu(), own * count);
  for (int64_t i = 0; i < count; ++i) {
    bench.library().copy(all.data() + i * own, values.data(), own * sizeof(Value));
  }
  return all;
}

void bench_gemv(KernelBench& bench, const Matrix& matrix) {
  const int64_t values = matrix.num_rows * matrix.num_columns;
  const auto x = bench.floats(matrix.num_columns);
  const auto weight = bench.bfloat16s(values, 0.02F);
  const kernels::GpuArray<float> y(bench.gpu(), matrix.num_rows);
  const int64_t few = std::min<int64_t>(matrix.num_rows, 512);
  const auto check = [&](const std::string& name, const void* type_weight, kernels::NumberType type,
                         const float* scale) {
    std::vector<float> wanted(few);
    std::vector<float> wide(few * matrix.num_columns);
    for (int64_t i = 0; i < few * matrix.num_columns; ++i) {
      wide[i] = type == kernels::NumberType::kInt8
                    ? static_cast<float>(static_cast<const int8_t*>(type_weight)[i]) *
                          scale[i / matrix.num_columns]
                    : to_float(static_cast<const BFloat16*>(type_weight)[i]);
    }
    kernels::gemv({.weight = wide.data(),
                   .x = x.host.data(),
                   .y = wanted.data(),
                   .num_columns = matrix.num_columns},
                  0, few);
    const auto got = bench.to_host(y);
    KernelBench::expect_near(name, std::span(got).first(few), wanted, 1e-4);
  };
  kernels::DeviceGemvParams params;
  params.x = x.device.data();
  params.y = y.data();
  params.num_rows = matrix.num_rows;
  params.num_columns = matrix.num_columns;

  int64_t count = 0;
  const std::string name = std::string("gemv, ") + matrix.name;
  {
    const auto all = copies_of(bench, std::span<const BFloat16>(weight.host), count);
    const auto run = [&](int64_t i) {
      params.weight = all.data() + i % count * values;
      bench.library().gemv(params, bench.stream());
    };
    run(0);
    check(name, weight.host.data(), kernels::NumberType::kBFloat16, nullptr);
    bench.report(name + ", bf16", "GB/s", 2.0 * static_cast<double>(values), bench.limits().read,
                 run);
  }
  if (matrix.num_columns % 16 != 0) return;
  std::vector<float> wide(values);
  std::ranges::transform(weight.host, wide.begin(), to_float);
  std::vector<int8_t> integers(values);
  std::vector<float> scale(matrix.num_rows);
  kernels::quantize_rows({.row = wide.data(),
                          .num_rows = matrix.num_rows,
                          .dim = matrix.num_columns,
                          .type = kernels::NumberType::kInt8,
                          .out = integers.data(),
                          .scale = scale.data()});
  const auto all = copies_of(bench, std::span<const int8_t>(integers), count);
  const kernels::GpuArray<float> device_scale(bench.gpu(), std::span<const float>(scale));
  params.type = kernels::NumberType::kInt8;
  params.row_scale = device_scale.data();
  const auto run = [&](int64_t i) {
    params.weight = all.data() + i % count * values;
    bench.library().gemv(params, bench.stream());
  };
  run(0);
  check(name, integers.data(), kernels::NumberType::kInt8, scale.data());
  bench.report(name + ", int8", "GB/s", static_cast<double>(values), bench.limits().read, run);
}

/// Norm weights of 1 and angles of 0, so that heads are only brought to a length.
void bench_attention(KernelBench& bench, const model::ModelConfig& config, int64_t num_rows) {
  const int64_t dim = config.head_dim;
  const int64_t kv = config.num_kv_heads * dim;
  const int64_t q = config.num_heads * dim;
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  const auto joint = bench.floats(2 * kv + q);
  const auto key = bench.bfloat16s((num_rows + 1) * kv);
  const auto value = bench.bfloat16s((num_rows + 1) * kv);
  const std::vector<float> ones(dim, 1.0F);
  const std::vector<float> zeros(dim, 0.0F);
  const kernels::GpuArray<float> one(bench.gpu(), std::span<const float>(ones));
  const kernels::GpuArray<float> zero(bench.gpu(), std::span<const float>(zeros));
  const std::vector<int32_t> places{0, static_cast<int32_t>(num_rows)};  // position, rows
  const kernels::GpuArray<int32_t> place(bench.gpu(), std::span<const int32_t>(places));
  const kernels::GpuArray<float> out(bench.gpu(), q);
  const auto run = [&](int64_t) {
    bench.library().step_attention({.joint = joint.device.data(),
                                    .q_norm = one.data(),
                                    .k_norm = one.data(),
                                    .cosine = one.data(),
                                    .sine = zero.data(),
                                    .position = place.data(),
                                    .key = key.device.data(),
                                    .value = value.device.data(),
                                    .num_rows = place.data() + 1,
                                    .out = out.data(),
                                    .num_heads = config.num_heads,
                                    .num_kv_heads = config.num_kv_heads,
                                    .head_dim = dim,
                                    .scale = scale,
                                    .eps = 1e-6F},
                                   bench.stream());
  };
  run(0);
  const auto keys = bench.to_host(key.device);  // with the new row
  const auto values = bench.to_host(value.device);
  std::vector<float> wide_keys(keys.size());
  std::vector<float> wide_values(values.size());
  std::ranges::transform(keys, wide_keys.begin(), to_float);
  std::ranges::transform(values, wide_values.begin(), to_float);
  std::vector<float> query(joint.host.end() - q, joint.host.end());
  kernels::rms_norm(
      {.x = query.data(), .weight = ones.data(), .out = query.data(), .dim = dim, .eps = 1e-6F}, 0,
      config.num_heads);
  std::vector<float> scores(config.num_heads * (num_rows + 1));
  std::vector<float> wanted(q);
  kernels::sparse_attention({.query = query.data(),
                             .key = wide_keys.data(),
                             .value = wide_values.data(),
                             .out = wanted.data(),
                             .num_keys = num_rows + 1,
                             .num_heads = config.num_heads,
                             .num_kv_heads = config.num_kv_heads,
                             .head_dim = dim,
                             .scale = scale,
                             .scores = scores.data()},
                            0, config.num_heads);
  const auto got = bench.to_host(out);
  KernelBench::expect_near("step_attention", got, wanted, 2e-2);
  bench.report("step_attention, " + std::to_string(num_rows) + " rows (held by the cache)", "GB/s",
               4.0 * static_cast<double>(num_rows * kv), bench.limits().read, run);
}

}  // namespace

void bench_step_kernels(KernelBench& bench, const model::ModelConfig& config, int64_t num_rows) {
  const int64_t q = config.num_heads * config.head_dim;
  const int64_t kv = config.num_kv_heads * config.head_dim;
  for (const Matrix& matrix : {Matrix{"input", 2 * kv + q, config.embed_dim},
                               {"output", config.embed_dim, q},
                               {"gate and up", 2 * config.ffn_dim, config.embed_dim},
                               {"down", config.embed_dim, config.ffn_dim},
                               {"vocabulary", config.vocab_size, config.embed_dim}}) {
    bench_gemv(bench, matrix);
  }
  bench_attention(bench, config, num_rows);
}

}  // namespace msa::cli
