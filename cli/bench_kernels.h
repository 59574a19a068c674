#pragma once
// What the parts of msa bench kernels share: values on the device, times by its own clock, and a
// line for every kernel.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "cli/bench.h"
#include "msa/base/bfloat16.h"
#include "msa/kernels/gpu.h"
#include "msa/kernels/gpu_array.h"
#include "msa/model/config.h"

namespace msa::cli {

/// What a kernel cannot beat.
struct KernelLimits {
  double read = 0;      // bytes a second
  double copy = 0;      // bytes read and written a second
  double products = 0;  // operations a second, 8192 x 8192 x 8192 in bfloat16
};

/// The same numbers on the host and on the device.
template <typename Value>
struct HostAndDevice {
  HostAndDevice(const kernels::Gpu& gpu, std::vector<Value> values)
      : host(std::move(values)), device(gpu, std::span<const Value>(host)) {}

  std::vector<Value> host;
  kernels::GpuArray<Value> device;
};

class KernelBench {
 public:
  KernelBench(const kernels::Gpu& gpu, const BenchFlags& flags);

  const kernels::Gpu& gpu() const { return gpu_; }
  const kernels::CudaLibrary& library() const { return gpu_.library(); }
  kernels::CudaStream stream() const { return stream_.get(); }
  const KernelLimits& limits() const { return limits_; }

  HostAndDevice<float> floats(int64_t count, float scale = 1);
  HostAndDevice<BFloat16> bfloat16s(int64_t count, float scale = 1);

  template <typename Value>
  std::vector<Value> to_host(const kernels::GpuArray<Value>& array) const {
    stream_.synchronize();
    std::vector<Value> values(array.size());
    array.copy_to_host(values.data());
    return values;
  }

  /// Throws unless every got[i] is within tolerance * (1 + |wanted[i]|) of wanted[i].
  static void expect_near(const std::string& kernel, std::span<const float> got,
                          std::span<const float> wanted, double tolerance);

  /// Times `work(i)`, i rising: a call queues one run, which may use other memory than the run
  /// before. `limit` is what the device could do of `amount` a second.
  void report(const std::string& kernel, const char* unit, double amount, double limit,
              const std::function<void(int64_t)>& work);

 private:
  /// Milliseconds of a run.
  Times time(const std::function<void(int64_t)>& work);

  const kernels::Gpu& gpu_;
  const BenchFlags& flags_;
  kernels::GpuStream stream_;
  Noise noise_{7};
  KernelLimits limits_;
};

// Kernels of documents and prompts, and those of a decoding step.
void bench_pass_kernels(KernelBench& bench, const model::ModelConfig& config, int64_t num_tokens,
                        int64_t length);
void bench_step_kernels(KernelBench& bench, const model::ModelConfig& config, int64_t num_rows);

}  // namespace msa::cli
