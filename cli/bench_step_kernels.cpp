// Kernels of one token: products of a matrix with a vector, and attention over a cache.

#include <algorithm>
#include <cmath>

#include "cli/bench_kernels.h"
#include "msa/kernels/attention.h"
#include "msa/kernels/gemv.h"
#include "msa/kernels/quantize_weights.h"

namespace msa::cli {
namespace {

constexpr int64_t kColdBytes = int64_t{256} << 20;  // more than any cache holds

struct Matrix {
  const char* name;
  int64_t num_rows;
  int64_t num_columns;
};

/// What the first rows of a matrix give, as they are stored.
std::vector<float> products_of(const KernelBench& bench, const kernels::GpuArray<std::byte>& rows,
                               kernels::WeightType type, int64_t num_rows,
                               std::span<const float> x) {
  const auto num_columns = static_cast<int64_t>(x.size());
  const auto stored = bench.to_host(rows);
  std::vector<float> weight(num_rows * num_columns);
  kernels::dequantize_content({.row = stored.data(),
                               .num_rows = num_rows,
                               .num_kv_heads = 1,
                               .head_dim = num_columns,
                               .type = kernels::content_type_of(type),
                               .out = weight.data()});
  std::vector<float> y(num_rows);
  kernels::gemv({.weight = weight.data(), .x = x.data(), .y = y.data(), .num_columns = num_columns},
                0, num_rows);
  return y;
}

void bench_gemv(KernelBench& bench, const Matrix& matrix, kernels::WeightType type) {
  const auto& library = bench.library();
  const int64_t num_bytes =
      matrix.num_rows * kernels::weight_layout(type, matrix.num_columns).row_bytes;
  const auto x = bench.floats(matrix.num_columns);
  const auto weight = bench.bfloat16s(matrix.num_rows * matrix.num_columns, 0.02F);
  const kernels::GpuArray<float> y(bench.gpu(), matrix.num_rows);
  kernels::GpuArray<std::byte> rows(bench.gpu(), num_bytes);
  if (type == kernels::WeightType::kBFloat16) {
    library.copy(rows.data(), weight.device.data(), num_bytes);
  } else {
    library.quantize_weights({.weight = weight.device.data(),
                              .rows = rows.data(),
                              .type = type,
                              .num_rows = matrix.num_rows,
                              .num_columns = matrix.num_columns},
                             bench.stream());
  }
  const int64_t few = std::min<int64_t>(matrix.num_rows, 512);
  const auto wanted = products_of(bench, rows, type, few, x.host);
  // Several times, so that no run finds the matrix in a cache.
  const int64_t count = std::max<int64_t>(1, kColdBytes / num_bytes);
  const kernels::GpuArray<std::byte> all(bench.gpu(), count * num_bytes);
  for (int64_t i = 0; i < count; ++i) {
    library.copy(all.data() + i * num_bytes, rows.data(), num_bytes);
  }
  const auto run = [&](int64_t i) {
    library.gemv({.weight = all.data() + i % count * num_bytes,
                  .type = type,
                  .x = x.device.data(),
                  .y = y.data(),
                  .num_rows = matrix.num_rows,
                  .num_columns = matrix.num_columns},
                 bench.stream());
  };
  const std::string name =
      std::string("gemv, ") + matrix.name + ", " + std::string(kernels::name_of(type));
  run(0);
  // Rows of integers meet an x of 16 bits.
  KernelBench::expect_near(name, std::span<const float>(bench.to_host(y)).first(few), wanted,
                           type == kernels::WeightType::kBFloat16 ? 1e-4 : 3e-4);
  bench.report(name, "GB/s", static_cast<double>(num_bytes), bench.limits().read, run);
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
    for (const auto type :
         {kernels::WeightType::kBFloat16, kernels::WeightType::kInt8, kernels::WeightType::kInt4}) {
      if (matrix.num_columns % kernels::weight_column_step(type) == 0) {
        bench_gemv(bench, matrix, type);
      }
    }
  }
  bench_attention(bench, config, num_rows);
}

}  // namespace msa::cli
