#include <algorithm>
#include <cmath>

#include "msa/kernels/elementwise.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

/// Sum of squares in a fixed order: 16 partial sums, then these.
template <typename Number>
MSA_INLINE float sum_of_squares(const Number* x, int64_t count) {
  constexpr int64_t kLanes = 16;
  float partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = widen(x[i + lane]);
      partial[lane] += value * value;
    }
  }
  float sum = 0;
  for (; i < count; ++i) sum += widen(x[i]) * widen(x[i]);
  for (const float value : partial) sum += value;
  return sum;
}

template <typename Out>
MSA_INLINE void rms_norm_row(const float* x, const float* weight, Out* out, int64_t dim,
                             float eps) {
  const float mean = sum_of_squares(x, dim) / static_cast<float>(dim);
  const float factor = 1.0F / std::sqrt(mean + eps);
  for (int64_t i = 0; i < dim; ++i) narrow(weight[i] * (x[i] * factor), out[i]);
}

template <typename In>
MSA_INLINE void norm_rope_row(const In* x, const NormRopeParams& p, const float* cosine,
                              const float* sine, float* out) {
  const int64_t half = p.head_dim / 2;
  for (int64_t head = 0; head < p.num_heads; ++head, x += p.head_dim, out += p.head_dim) {
    const float mean = sum_of_squares(x, p.head_dim) / static_cast<float>(p.head_dim);
    const float factor = 1.0F / std::sqrt(mean + p.eps);
    for (int64_t i = 0; i < half; ++i) {
      const float a = p.weight[i] * (widen(x[i]) * factor);
      const float b = p.weight[half + i] * (widen(x[half + i]) * factor);
      out[i] = a * cosine[i] - b * sine[i];
      out[half + i] = b * cosine[i] + a * sine[i];
    }
  }
}

template <typename Number>
MSA_INLINE void swiglu_row(const Number* gate, const Number* up, Number* out, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) narrow(silu(widen(gate[i])) * widen(up[i]), out[i]);
}

template <typename In>
MSA_INLINE void add_row(const In* x, float* sum, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += widen(x[i]);
}

template <int kLanes>
MSA_INLINE void rms_norm_lanes(const RmsNormParams& p, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    const float* x = p.x + t * p.dim;
    if (p.out_type == NumberType::kBFloat16) {
      rms_norm_row(x, p.weight, static_cast<BFloat16*>(p.out) + t * p.dim, p.dim, p.eps);
    } else {
      rms_norm_row(x, p.weight, static_cast<float*>(p.out) + t * p.dim, p.dim, p.eps);
    }
  }
}

template <int kLanes>
MSA_INLINE void norm_rope_lanes(const NormRopeParams& p, int64_t first, int64_t end) {
  const int64_t half = p.head_dim / 2;
  for (int64_t t = first; t < end; ++t) {
    const float* cosine = p.cosine + t * half;
    const float* sine = p.sine + t * half;
    float* out = p.out + t * p.num_heads * p.head_dim;
    if (p.x_type == NumberType::kBFloat16) {
      norm_rope_row(static_cast<const BFloat16*>(p.x) + t * p.x_stride, p, cosine, sine, out);
    } else {
      norm_rope_row(static_cast<const float*>(p.x) + t * p.x_stride, p, cosine, sine, out);
    }
  }
}

template <int kLanes>
MSA_INLINE void swiglu_lanes(const SwigluParams& p, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    if (p.type == NumberType::kBFloat16) {
      const BFloat16* gate = static_cast<const BFloat16*>(p.gate_up) + t * 2 * p.dim;
      swiglu_row(gate, gate + p.dim, static_cast<BFloat16*>(p.out) + t * p.dim, p.dim);
    } else {
      const float* gate = static_cast<const float*>(p.gate_up) + t * 2 * p.dim;
      swiglu_row(gate, gate + p.dim, static_cast<float*>(p.out) + t * p.dim, p.dim);
    }
  }
}

template <int kLanes>
MSA_INLINE void gate_lanes(const float* gate, const float* up, float* out, int64_t count) {
  swiglu_row(gate, up, out, count);
}

template <int kLanes>
MSA_INLINE void l2_normalize_lanes(const NormalizeParams& p, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    const float* x = p.x + t * p.dim;
    float* out = p.out + t * p.dim;
    const float factor = 1.0F / std::max(std::sqrt(sum_of_squares(x, p.dim)), 1e-12F);
    for (int64_t i = 0; i < p.dim; ++i) out[i] = x[i] * factor;
  }
}

template <int kLanes>
MSA_INLINE void add_rows_lanes(const AddParams& p, int64_t first, int64_t end) {
  const int64_t begin = first * p.dim;
  const int64_t count = (end - first) * p.dim;
  if (p.x_type == NumberType::kBFloat16) {
    add_row(static_cast<const BFloat16*>(p.x) + begin, p.sum + begin, count);
  } else {
    add_row(static_cast<const float*>(p.x) + begin, p.sum + begin, count);
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(rms_norm, (const RmsNormParams& params, int64_t first, int64_t end),
                    (params, first, end))
MSA_VECTOR_FUNCTION(norm_rope, (const NormRopeParams& params, int64_t first, int64_t end),
                    (params, first, end))
MSA_VECTOR_FUNCTION(swiglu, (const SwigluParams& params, int64_t first, int64_t end),
                    (params, first, end))
MSA_VECTOR_FUNCTION(gate, (const float* gate, const float* up, float* out, int64_t count),
                    (gate, up, out, count))
MSA_VECTOR_FUNCTION(l2_normalize, (const NormalizeParams& params, int64_t first, int64_t end),
                    (params, first, end))
MSA_VECTOR_FUNCTION(add_rows, (const AddParams& params, int64_t first, int64_t end),
                    (params, first, end))

}  // namespace msa::kernels
