#include <algorithm>
#include <cmath>

#include "msa/kernels/elementwise_gradient.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

/// One head: back through the rotation, then through the norm.
MSA_INLINE void norm_rope_head(const NormRopeGradientRows& p, const float* x, const float* cosine,
                               const float* sine, const float* gradient, float* x_gradient,
                               float* weight_gradient) {
  const int64_t half = p.head_dim / 2;
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < p.head_dim; ++i) squares += x[i] * x[i];
  const float factor = 1.0F / std::sqrt(squares / static_cast<float>(p.head_dim) + p.eps);
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t i = 0; i < half; ++i) {
    const float a = gradient[i] * cosine[i] + gradient[half + i] * sine[i];
    const float b = gradient[half + i] * cosine[i] - gradient[i] * sine[i];
    const float slope_a = a * (x[i] * factor);
    const float slope_b = b * (x[half + i] * factor);
    weight_gradient[i] += slope_a;
    weight_gradient[half + i] += slope_b;
    along += slope_a * p.weight[i] + slope_b * p.weight[half + i];
    x_gradient[i] = a * p.weight[i];
    x_gradient[half + i] = b * p.weight[half + i];
  }
  const float mean = along / static_cast<float>(p.head_dim) * factor;
  for (int64_t i = 0; i < p.head_dim; ++i) {
    x_gradient[i] = (x_gradient[i] - x[i] * mean) * factor;
  }
}

template <int kLanes>
MSA_INLINE void norm_rope_gradient_lanes(const NormRopeGradientRows& p, float* weight_gradient,
                                         int64_t first, int64_t end) {
  const int64_t half = p.head_dim / 2;
  std::fill_n(weight_gradient, p.head_dim, 0.0F);
  for (int64_t t = first; t < end; ++t) {
    for (int64_t head = 0; head < p.num_heads; ++head) {
      const int64_t place = (t * p.num_heads + head) * p.head_dim;
      norm_rope_head(p, p.x + t * p.x_stride + head * p.head_dim, p.cosine + t * half,
                     p.sine + t * half, p.out_gradient + place, p.x_gradient + place,
                     weight_gradient);
    }
  }
}

template <int kLanes>
MSA_INLINE void swiglu_gradient_lanes(const SwigluGradientRows& p, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    const float* gate = p.gate_up + t * 2 * p.dim;
    const float* up = gate + p.dim;
    const float* gradient = p.out_gradient + t * p.dim;
    float* gate_gradient = p.gate_up_gradient + t * 2 * p.dim;
    float* up_gradient = gate_gradient + p.dim;
#pragma omp simd
    for (int64_t i = 0; i < p.dim; ++i) {
      const float share = 1.0F / (1.0F + fast_exp(-gate[i]));
      const float silu = gate[i] * share;
      up_gradient[i] = gradient[i] * silu;
      gate_gradient[i] = gradient[i] * up[i] * (share + silu * (1.0F - share));
    }
  }
}

}  // namespace

MSA_VECTOR_FUNCTION(norm_rope_gradient,
                    (const NormRopeGradientRows& rows, float* weight_gradient, int64_t first,
                     int64_t end),
                    (rows, weight_gradient, first, end))
MSA_VECTOR_FUNCTION(swiglu_gradient, (const SwigluGradientRows& rows, int64_t first, int64_t end),
                    (rows, first, end))

}  // namespace msa::kernels
