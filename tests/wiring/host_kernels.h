#pragma once
// Another implementation of msa/autograd/device_kernels.h: kernels for tensors of the CPU. A
// program that is linked with it runs the rules as a GPU does, on any machine.

namespace msa::wiring {

/// While one lives, aligned bfloat16 tensors of the CPU have kernels. For one thread at a time.
class HostKernels {
 public:
  HostKernels();
  ~HostKernels();
  HostKernels(const HostKernels&) = delete;
  HostKernels& operator=(const HostKernels&) = delete;
};

}  // namespace msa::wiring
