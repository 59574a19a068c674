#pragma once
// Work on a GPU that is recorded once and queued as a whole; and how long some of it took.

#include <functional>

#include "msa/kernels/gpu.h"

namespace msa::kernels {

/// Recorded work. Device addresses and sizes are those of the recording; what they hold may change.
class GpuGraph {
 public:
  /// Records what `work` queues on `stream`, which runs nothing of it. `work` must not wait.
  GpuGraph(const Gpu& gpu, CudaStream stream, const std::function<void()>& work);
  ~GpuGraph();
  GpuGraph(const GpuGraph&) = delete;
  GpuGraph& operator=(const GpuGraph&) = delete;

  void launch(CudaStream stream) const;

 private:
  const CudaLibrary* library_;
  void* graph_;
};

/// Milliseconds between two places of a stream.
class GpuTimer {
 public:
  explicit GpuTimer(const Gpu& gpu);
  ~GpuTimer();
  GpuTimer(const GpuTimer&) = delete;
  GpuTimer& operator=(const GpuTimer&) = delete;

  void start(CudaStream stream);
  void stop(CudaStream stream);

  /// Once the stream has passed both places.
  double milliseconds() const;

 private:
  const CudaLibrary* library_;
  void* timer_;
};

}  // namespace msa::kernels
