#pragma once
// The kernels that training calls, as plain loops in double precision on the host. Each refuses
// what its declaration does not allow, with Error(kInternal).

#include "msa/kernels/cuda_library.h"

namespace msa::wiring {

void norm_rows(const kernels::NormRowsParams& p, kernels::CudaStream stream);
int64_t norm_rows_gradient_workspace_bytes(int64_t dim);
void norm_rows_gradient(const kernels::NormRowsGradientParams& p, kernels::CudaStream stream);
void swiglu(const kernels::SwigluParams& p, int64_t num_tokens, kernels::CudaStream stream);
void swiglu_gradient(const kernels::SwigluGradientParams& p, kernels::CudaStream stream);
void token_loss(const kernels::TokenLossParams& p, kernels::CudaStream stream);
void pool_rows(const kernels::PoolRowsParams& p, kernels::CudaStream stream);
void pool_rows_gradient(const kernels::PoolRowsGradientParams& p, kernels::CudaStream stream);
void sum_rows(const kernels::SumRowsParams& p, kernels::CudaStream stream);

void norm_heads(const kernels::NormHeadsParams& p, kernels::CudaStream stream);
int64_t norm_heads_gradient_workspace_bytes(int64_t head_dim);
void norm_heads_gradient(const kernels::NormHeadsGradientParams& p, kernels::CudaStream stream);
void unit_heads(const kernels::UnitHeadsParams& p, kernels::CudaStream stream);
void unit_heads_gradient(const kernels::UnitHeadsGradientParams& p, kernels::CudaStream stream);

inline BFloat16 rounded(double value) { return to_bfloat16(static_cast<float>(value)); }

}  // namespace msa::wiring
