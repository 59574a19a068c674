#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/wiring/call_arrays.h"
#include "tests/wiring/host_loops.h"

namespace msa::wiring {
namespace {

constexpr int64_t kEight = 8;

void expect_width(const char* kernel, int64_t width, int64_t longest) {
  expect(width > 0 && width % kEight == 0 && width <= longest, kernel, ": rows of ", width,
         " numbers");
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// The rows that the chunks have together.
int64_t check_offsets(CallArrays& arrays, const char* kernel, const int32_t* offsets,
                      int64_t count) {
  arrays.reads("offsets", offsets, count + 1);
  for (int64_t c = 0; c < count; ++c) {
    expect(0 <= offsets[c] && offsets[c] <= offsets[c + 1], kernel, ": offsets fall at ", c);
  }
  return offsets[count];
}

/// Numbers of N rows that begin `stride` apart.
int64_t strided(int64_t num_rows, int64_t stride, int64_t width) {
  return num_rows == 0 ? 0 : (num_rows - 1) * stride + width;
}

template <typename Params>
void expect_planes(const char* kernel, const Params& p) {
  expect_width(kernel, p.width, INT64_MAX);
  expect(p.num_planes > 0 && p.num_planes <= kernels::kMostPooledPlanes, kernel, ": ", p.num_planes,
         " planes");
  for (int i = 0; i < p.num_planes; ++i) {
    expect(p.plane[i].x_stride % kEight == 0, kernel, ": a stride of ", p.plane[i].x_stride);
  }
}

}  // namespace

void norm_rows(const kernels::NormRowsParams& p, kernels::CudaStream stream) {
  CallArrays arrays("norm_rows", stream);
  if (p.num_tokens == 0) return;
  expect_width("norm_rows", p.dim, kernels::kLongestLearnedRow);
  const int64_t count = p.num_tokens * p.dim;
  arrays.reads("x", p.x, count);
  arrays.reads("weight", p.weight, p.dim);
  if (p.addend != nullptr) {
    arrays.reads("addend", p.addend, count);
    arrays.writes("sum", p.sum, count, {p.x, p.addend});
  }
  arrays.writes("out", p.out, count);
  arrays.writes("inverse_root", p.inverse_root, p.num_tokens);
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    const BFloat16* row = p.x + t * p.dim;
    if (p.addend != nullptr) {
      BFloat16* sum = p.sum + t * p.dim;
      for (int64_t i = 0; i < p.dim; ++i) {
        sum[i] = rounded(double{to_float(row[i])} + to_float(p.addend[t * p.dim + i]));
      }
      row = sum;
    }
    double squares = 0;
    for (int64_t i = 0; i < p.dim; ++i) squares += std::pow(to_float(row[i]), 2.0);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(p.dim) + p.eps);
    p.inverse_root[t] = static_cast<float>(factor);
    for (int64_t i = 0; i < p.dim; ++i) {
      p.out[t * p.dim + i] = rounded(p.weight[i] * to_float(row[i]) * factor);
    }
  }
}

int64_t norm_rows_gradient_workspace_bytes(int64_t dim) {
  return 50 * dim * int64_t{sizeof(float)};
}

void norm_rows_gradient(const kernels::NormRowsGradientParams& p, kernels::CudaStream stream) {
  CallArrays arrays("norm_rows_gradient", stream);
  expect_width("norm_rows_gradient", p.dim, kernels::kLongestLearnedRow);
  const int64_t count = p.num_tokens * p.dim;
  arrays.reads("x", p.x, count);
  arrays.reads("weight", p.weight, p.dim);
  arrays.reads("inverse_root", p.inverse_root, p.num_tokens);
  arrays.reads("out_gradient", p.out_gradient, count);
  if (p.addend != nullptr) arrays.reads("addend", p.addend, count);
  arrays.writes("x_gradient", p.x_gradient, count, {p.x, p.out_gradient, p.addend});
  arrays.writes("weight_gradient", p.weight_gradient, p.dim);
  arrays.uses_workspace(p.workspace, norm_rows_gradient_workspace_bytes(p.dim));
  std::vector<double> weight_gradient(p.dim);
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    const double factor = p.inverse_root[t];
    double dot = 0;
    for (int64_t i = 0; i < p.dim; ++i) {
      const double normed = to_float(p.x[t * p.dim + i]) * factor;
      const double gradient = to_float(p.out_gradient[t * p.dim + i]);
      dot += p.weight[i] * gradient * normed;
      weight_gradient[i] += gradient * normed;
    }
    const double mean = dot / static_cast<double>(p.dim);
    for (int64_t i = 0; i < p.dim; ++i) {
      const int64_t place = t * p.dim + i;
      const double normed = to_float(p.x[place]) * factor;
      const double before = p.addend == nullptr ? 0 : to_float(p.addend[place]);
      p.x_gradient[place] = rounded(
          before + factor * (p.weight[i] * to_float(p.out_gradient[place]) - normed * mean));
    }
  }
  std::copy(weight_gradient.begin(), weight_gradient.end(), p.weight_gradient);
}

void swiglu(const kernels::SwigluParams& p, int64_t num_tokens, kernels::CudaStream stream) {
  CallArrays arrays("swiglu", stream);
  if (num_tokens == 0) return;
  expect_width("swiglu", p.dim, INT64_MAX);
  expect(p.type == kernels::NumberType::kBFloat16, "swiglu: is not of bfloat16");
  const auto* gate_up = static_cast<const BFloat16*>(p.gate_up);
  auto* out = static_cast<BFloat16*>(p.out);
  arrays.reads("gate_up", gate_up, num_tokens * 2 * p.dim);
  arrays.writes("out", out, num_tokens * p.dim);
  for (int64_t t = 0; t < num_tokens; ++t) {
    for (int64_t i = 0; i < p.dim; ++i) {
      const double gate = to_float(gate_up[t * 2 * p.dim + i]);
      const double up = to_float(gate_up[(t * 2 + 1) * p.dim + i]);
      out[t * p.dim + i] = rounded(gate * sigmoid(gate) * up);
    }
  }
}

void swiglu_gradient(const kernels::SwigluGradientParams& p, kernels::CudaStream stream) {
  CallArrays arrays("swiglu_gradient", stream);
  if (p.num_tokens == 0) return;
  expect_width("swiglu_gradient", p.dim, INT64_MAX);
  const int64_t count = p.num_tokens * p.dim;
  arrays.reads("gate_up", p.gate_up, 2 * count);
  arrays.reads("out_gradient", p.out_gradient, count);
  arrays.writes("gate_up_gradient", p.gate_up_gradient, 2 * count, {p.gate_up});
  if (p.out != nullptr) arrays.writes("out", p.out, count, {p.out_gradient});
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    for (int64_t i = 0; i < p.dim; ++i) {
      const int64_t gate_place = t * 2 * p.dim + i;
      const double gate = to_float(p.gate_up[gate_place]);
      const double up = to_float(p.gate_up[gate_place + p.dim]);
      const double gradient = to_float(p.out_gradient[t * p.dim + i]);
      const double share = sigmoid(gate);
      p.gate_up_gradient[gate_place] = rounded(gradient * up * share * (1 + gate * (1 - share)));
      p.gate_up_gradient[gate_place + p.dim] = rounded(gradient * gate * share);
      if (p.out != nullptr) p.out[t * p.dim + i] = rounded(gate * share * up);
    }
  }
}

void token_loss(const kernels::TokenLossParams& p, kernels::CudaStream stream) {
  CallArrays arrays("token_loss", stream);
  if (p.num_tokens == 0) return;
  expect_width("token_loss", p.vocab_size, INT64_MAX);
  arrays.reads("target", p.target, p.num_tokens);
  if (p.weight != nullptr) arrays.reads("weight", p.weight, p.num_tokens);
  arrays.writes("logits", p.logits, p.num_tokens * p.vocab_size);
  arrays.writes("loss", p.loss, p.num_tokens);
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    BFloat16* logits = p.logits + t * p.vocab_size;
    const int64_t target = p.target[t];
    expect(target < p.vocab_size, "token_loss: a target of ", target);
    double highest = to_float(logits[0]);
    for (int64_t v = 0; v < p.vocab_size; ++v) {
      highest = std::max(highest, double{to_float(logits[v])});
    }
    double sum = 0;
    for (int64_t v = 0; v < p.vocab_size; ++v) sum += std::exp(to_float(logits[v]) - highest);
    const double logarithm = highest + std::log(sum);
    p.loss[t] = target < 0 ? 0 : static_cast<float>(logarithm - to_float(logits[target]));
    if (p.weight == nullptr) continue;
    for (int64_t v = 0; v < p.vocab_size; ++v) {
      const double share = std::exp(to_float(logits[v]) - logarithm) - (v == target ? 1 : 0);
      logits[v] = rounded(target < 0 ? 0 : p.weight[t] * share);
    }
  }
}

void pool_rows(const kernels::PoolRowsParams& p, kernels::CudaStream stream) {
  CallArrays arrays("pool_rows", stream);
  if (p.num_chunks == 0) return;
  expect_planes("pool_rows", p);
  const int64_t num_rows = check_offsets(arrays, "pool_rows", p.chunk_offsets, p.num_chunks);
  for (int i = 0; i < p.num_planes; ++i) {
    const kernels::PooledRows& plane = p.plane[i];
    arrays.reads("x", plane.x, strided(num_rows, plane.x_stride, p.width));
    arrays.writes("pooled", plane.pooled, p.num_chunks * p.width);
    for (int64_t c = 0; c < p.num_chunks; ++c) {
      const int32_t begin = p.chunk_offsets[c];
      const int32_t end = p.chunk_offsets[c + 1];
      for (int64_t f = 0; f < p.width; ++f) {
        double sum = 0;
        for (int64_t r = begin; r < end; ++r) sum += to_float(plane.x[r * plane.x_stride + f]);
        plane.pooled[c * p.width + f] = rounded(sum / std::max(1, end - begin));
      }
    }
  }
}

void pool_rows_gradient(const kernels::PoolRowsGradientParams& p, kernels::CudaStream stream) {
  CallArrays arrays("pool_rows_gradient", stream);
  if (p.num_chunks == 0) return;
  expect_planes("pool_rows_gradient", p);
  const int64_t num_rows =
      check_offsets(arrays, "pool_rows_gradient", p.chunk_offsets, p.num_chunks);
  for (int i = 0; i < p.num_planes; ++i) {
    const kernels::PooledRowsGradient& plane = p.plane[i];
    arrays.reads("pooled_gradient", plane.pooled_gradient, p.num_chunks * p.width);
    arrays.writes("x_gradient", plane.x_gradient, strided(num_rows, plane.x_stride, p.width));
    for (int64_t c = 0; c < p.num_chunks; ++c) {
      const int32_t begin = p.chunk_offsets[c];
      const int32_t end = p.chunk_offsets[c + 1];
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t f = 0; f < p.width; ++f) {
          BFloat16& place = plane.x_gradient[r * plane.x_stride + f];
          const double before = plane.adds ? to_float(place) : 0;
          place = rounded(before + to_float(plane.pooled_gradient[c * p.width + f]) /
                                       static_cast<double>(end - begin));
        }
      }
    }
  }
}

void sum_rows(const kernels::SumRowsParams& p, kernels::CudaStream stream) {
  CallArrays arrays("sum_rows", stream);
  if (p.num_sums == 0) return;
  expect_width("sum_rows", p.width, INT64_MAX);
  const int64_t num_rows = check_offsets(arrays, "sum_rows", p.offsets, p.num_sums);
  arrays.reads("order", p.order, num_rows);
  int64_t num_read = 0;
  for (int64_t i = 0; i < num_rows; ++i) {
    expect(p.order[i] >= 0, "sum_rows: a row of ", p.order[i]);
    num_read = std::max(num_read, p.order[i] + 1);
  }
  arrays.reads("x", p.x, num_read * p.width);
  arrays.writes("sum", p.sum, p.num_sums * p.width);
  for (int64_t n = 0; n < p.num_sums; ++n) {
    for (int64_t f = 0; f < p.width; ++f) {
      double sum = 0;
      for (int64_t i = p.offsets[n]; i < p.offsets[n + 1]; ++i) {
        sum += to_float(p.x[p.order[i] * p.width + f]);
      }
      p.sum[n * p.width + f] = rounded(sum);
    }
  }
}

}  // namespace msa::wiring
