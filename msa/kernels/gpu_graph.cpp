#include "msa/kernels/gpu_graph.h"

namespace msa::kernels {

GpuGraph::GpuGraph(const Gpu& gpu, CudaStream stream, const std::function<void()>& work)
    : library_(&gpu.library()), graph_(nullptr) {
  library_->begin_recording(stream);
  try {
    work();
  } catch (...) {
    library_->abandon_recording(stream);
    throw;
  }
  graph_ = library_->end_recording(stream);
}

GpuGraph::~GpuGraph() { library_->destroy_graph(graph_); }

void GpuGraph::launch(CudaStream stream) const { library_->launch_graph(graph_, stream); }

GpuTimer::GpuTimer(const Gpu& gpu) : library_(&gpu.library()), timer_(library_->create_timer()) {}

GpuTimer::~GpuTimer() { library_->destroy_timer(timer_); }

void GpuTimer::start(CudaStream stream) { library_->mark_timer(timer_, 0, stream); }
void GpuTimer::stop(CudaStream stream) { library_->mark_timer(timer_, 1, stream); }
double GpuTimer::milliseconds() const { return library_->read_timer(timer_); }

}  // namespace msa::kernels
