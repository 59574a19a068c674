#pragma once
// Work recorded as CUDA graphs, and timers: what GpuGraph and GpuTimer hold.

#include "msa/kernels/cuda_stream.h"

namespace msa::kernels {

/// All throw Error(kDevice) if the device fails; what destroys does not fail.
void begin_recording_cuda(CudaStream stream);
/// The graph of what was queued since; it is ready to launch.
void* end_recording_cuda(CudaStream stream);
void abandon_recording_cuda(CudaStream stream);
void launch_graph_cuda(void* graph, CudaStream stream);
void destroy_graph_cuda(void* graph);

void* create_timer_cuda();
void destroy_timer_cuda(void* timer);
/// `place` 0: where it starts; 1: where it stops.
void mark_timer_cuda(void* timer, int place, CudaStream stream);
/// Milliseconds from start to stop, both of which the stream has passed.
double read_timer_cuda(void* timer);

}  // namespace msa::kernels
