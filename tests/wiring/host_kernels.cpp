#include "tests/wiring/host_kernels.h"

#include "msa/autograd/device_kernels.h"
#include "msa/autograd/kernel_arrays.h"
#include "tests/wiring/call_arrays.h"
#include "tests/wiring/host_loops.h"

namespace msa::wiring {
namespace {

bool has_kernels = false;

/// Only what rules call.
const kernels::CudaLibrary& library() {
  static const kernels::CudaLibrary table = [] {
    kernels::CudaLibrary entries;
    entries.version = kernels::kCudaLibraryVersion;
    entries.swiglu = &swiglu;
    entries.norm_rows = &norm_rows;
    entries.norm_rows_gradient_workspace_bytes = &norm_rows_gradient_workspace_bytes;
    entries.norm_rows_gradient = &norm_rows_gradient;
    entries.norm_heads = &norm_heads;
    entries.norm_heads_gradient_workspace_bytes = &norm_heads_gradient_workspace_bytes;
    entries.norm_heads_gradient = &norm_heads_gradient;
    entries.swiglu_gradient = &swiglu_gradient;
    entries.token_loss = &token_loss;
    entries.pool_rows = &pool_rows;
    entries.pool_rows_gradient = &pool_rows_gradient;
    entries.unit_heads = &unit_heads;
    entries.unit_heads_gradient = &unit_heads_gradient;
    entries.sum_rows = &sum_rows;
    return entries;
  }();
  return table;
}

}  // namespace

HostKernels::HostKernels() {
  has_kernels = true;
  kernel_calls().clear();
}

HostKernels::~HostKernels() { has_kernels = false; }

}  // namespace msa::wiring

namespace msa::autograd {

const kernels::CudaLibrary* device_kernels(std::initializer_list<at::Tensor> values) {
  for (const auto& tensor : values) {
    if (!tensor.is_cpu() || tensor.scalar_type() != at::kBFloat16 || !is_aligned(tensor)) {
      return nullptr;
    }
  }
  return wiring::has_kernels ? &wiring::library() : nullptr;
}

const kernels::CudaLibrary& opened_kernels() { return wiring::library(); }

const std::string& missing_kernels() {
  static const std::string nothing;
  return nothing;
}

}  // namespace msa::autograd
