#include <cuda_runtime.h>

#include <memory>

#include "msa/kernels/device_code.cuh"
#include "msa/kernels/recording.h"

namespace msa::kernels {
namespace {

struct Timer {
  Timer() = default;
  ~Timer() {
    for (cudaEvent_t event : place) {
      if (event != nullptr) cudaEventDestroy(event);
    }
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  cudaEvent_t place[2] = {};
};

}  // namespace

void begin_recording_cuda(CudaStream stream) {
  expect_success(
      cudaStreamBeginCapture(static_cast<cudaStream_t>(stream), cudaStreamCaptureModeThreadLocal),
      "recording");
}

void* end_recording_cuda(CudaStream stream) {
  cudaGraph_t graph = nullptr;
  expect_success(cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph), "recording");
  cudaGraphExec_t ready = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&ready, graph, 0);
  cudaGraphDestroy(graph);
  expect_success(error, "recording");
  return ready;
}

void abandon_recording_cuda(CudaStream stream) {
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(static_cast<cudaStream_t>(stream), &graph) == cudaSuccess) {
    cudaGraphDestroy(graph);
  }
  cudaGetLastError();
}

void launch_graph_cuda(void* graph, CudaStream stream) {
  expect_success(
      cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), static_cast<cudaStream_t>(stream)),
      "a recorded step");
}

void destroy_graph_cuda(void* graph) {
  if (graph != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

void* create_timer_cuda() {
  auto timer = std::make_unique<Timer>();
  for (cudaEvent_t& place : timer->place) expect_success(cudaEventCreate(&place), "a timer");
  return timer.release();
}

void destroy_timer_cuda(void* timer) {
  const std::unique_ptr<Timer> held(static_cast<Timer*>(timer));
}

void mark_timer_cuda(void* timer, int place, CudaStream stream) {
  expect_success(
      cudaEventRecord(static_cast<Timer*>(timer)->place[place], static_cast<cudaStream_t>(stream)),
      "a timer");
}

double read_timer_cuda(void* timer) {
  const auto* held = static_cast<const Timer*>(timer);
  float milliseconds = 0;
  expect_success(cudaEventElapsedTime(&milliseconds, held->place[0], held->place[1]), "a timer");
  return milliseconds;
}

}  // namespace msa::kernels
