#pragma once
// What libmsa_cuda.so offers to a program that loads it: one symbol, which leads to a table.

#include <cstddef>
#include <cstdint>

#include "msa/kernels/cuda_stream.h"
#include "msa/kernels/device_gemm.h"
#include "msa/kernels/device_gemv.h"
#include "msa/kernels/device_heads.h"
#include "msa/kernels/device_rows.h"
#include "msa/kernels/fused_step.h"
#include "msa/kernels/gather_records.h"
#include "msa/kernels/norm_heads.h"
#include "msa/kernels/norm_rows.h"
#include "msa/kernels/pack_keys.h"
#include "msa/kernels/packed_attention.h"
#include "msa/kernels/pool_chunks.h"
#include "msa/kernels/pool_rows.h"
#include "msa/kernels/quantize_weights.h"
#include "msa/kernels/recording.h"
#include "msa/kernels/route_batch.h"
#include "msa/kernels/step_attention.h"
#include "msa/kernels/sum_rows.h"
#include "msa/kernels/swiglu_gradient.h"
#include "msa/kernels/token_loss.h"
#include "msa/kernels/token_places.h"
#include "msa/kernels/unit_heads.h"

namespace msa::kernels {

struct GpuFacts {
  char name[256] = {};
  int capability = 0;  // 10 * major + minor
  int multiprocessors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;
};

/// Functions throw Error(kDevice) if the device fails, and what their declarations say.
struct CudaLibrary {
  int64_t version = 0;  // kCudaLibraryVersion of the library

  /// The first device. Where none can be used the error says why.
  void (*find_device)(GpuFacts& facts) = nullptr;

  /// Null if there is no room.
  void* (*allocate)(int64_t num_bytes) = nullptr;
  void (*release)(void* memory) = nullptr;

  /// Between host and device or within the device; returns when the bytes are there.
  void (*copy)(void* to, const void* from, int64_t num_bytes) = nullptr;

  /// Waits for all that was queued; failures of kernels show here.
  void (*synchronize)() = nullptr;

  /// Reads every byte once and does nothing else: the limit for a kernel that must. num_bytes is a
  /// multiple of 16; `sum` is device memory for one word.
  void (*read_all)(const void* memory, int64_t num_bytes, uint32_t* sum,
                   CudaStream stream) = nullptr;

  decltype(&pool_chunks_cuda) pool_chunks = nullptr;
  decltype(&kernels::route_batch_workspace_bytes) route_batch_workspace_bytes = nullptr;
  decltype(&route_batch_cuda) route_batch = nullptr;
  decltype(&pack_keys_cuda) pack_keys = nullptr;

  /// Memory of the host that stays in its place and has the same address on the GPU. Null if there
  /// is no room.
  void* (*allocate_host)(int64_t num_bytes) = nullptr;
  void (*release_host)(void* memory, int64_t num_bytes) = nullptr;

  /// A stream that does not wait for the default stream. One of `is_urgent` goes before others
  /// where both have work.
  CudaStream (*create_stream)(bool is_urgent) = nullptr;
  void (*destroy_stream)(CudaStream stream) = nullptr;
  void (*synchronize_stream)(CudaStream stream) = nullptr;

  /// A place in a stream. A stream that awaits it starts nothing queued later before all that was
  /// queued before the place is done; an event that was never recorded is awaited by nobody.
  CudaEvent (*create_event)() = nullptr;
  void (*destroy_event)(CudaEvent event) = nullptr;
  void (*record_event)(CudaEvent event, CudaStream stream) = nullptr;
  void (*await_event)(CudaEvent event, CudaStream stream) = nullptr;

  /// Waits until all that was queued before the place is done.
  void (*synchronize_event)(CudaEvent event) = nullptr;

  /// As copy, but queued on `stream`. Host memory that is not of allocate_host may make it wait.
  void (*copy_async)(void* to, const void* from, int64_t num_bytes, CudaStream stream) = nullptr;

  /// Zero bytes, queued on `stream`.
  void (*clear)(void* memory, int64_t num_bytes, CudaStream stream) = nullptr;

  decltype(&begin_recording_cuda) begin_recording = nullptr;
  decltype(&end_recording_cuda) end_recording = nullptr;
  decltype(&abandon_recording_cuda) abandon_recording = nullptr;
  decltype(&launch_graph_cuda) launch_graph = nullptr;
  decltype(&destroy_graph_cuda) destroy_graph = nullptr;
  decltype(&create_timer_cuda) create_timer = nullptr;
  decltype(&destroy_timer_cuda) destroy_timer = nullptr;
  decltype(&mark_timer_cuda) mark_timer = nullptr;
  decltype(&read_timer_cuda) read_timer = nullptr;

  decltype(&embed_rows_cuda) embed_rows = nullptr;
  decltype(&rms_norm_cuda) rms_norm = nullptr;
  decltype(&swiglu_cuda) swiglu = nullptr;
  decltype(&spread_heads_cuda) spread_heads = nullptr;
  decltype(&fold_queries_cuda) fold_queries = nullptr;
  decltype(&device_gemm_cuda) device_gemm = nullptr;
  decltype(&gemv_cuda) gemv = nullptr;
  decltype(&quantize_weights_cuda) quantize_weights = nullptr;
  decltype(&packed_attention_cuda) packed_attention = nullptr;
  decltype(&step_attention_cuda) step_attention = nullptr;
  decltype(&kernels::fused_step_fits) fused_step_fits = nullptr;
  decltype(&kernels::fused_step_workspace_bytes) fused_step_workspace_bytes = nullptr;
  decltype(&fused_step_cuda) fused_step = nullptr;
  decltype(&place_tokens_cuda) place_tokens = nullptr;
  decltype(&begin_step_cuda) begin_step = nullptr;
  decltype(&store_row_cuda) store_row = nullptr;
  decltype(&gather_records_cuda) gather_records = nullptr;
  decltype(&set_slots_cuda) set_slots = nullptr;

  decltype(&norm_rows_cuda) norm_rows = nullptr;
  decltype(&kernels::norm_rows_gradient_workspace_bytes) norm_rows_gradient_workspace_bytes =
      nullptr;
  decltype(&norm_rows_gradient_cuda) norm_rows_gradient = nullptr;
  decltype(&norm_heads_cuda) norm_heads = nullptr;
  decltype(&kernels::norm_heads_gradient_workspace_bytes) norm_heads_gradient_workspace_bytes =
      nullptr;
  decltype(&norm_heads_gradient_cuda) norm_heads_gradient = nullptr;
  decltype(&swiglu_gradient_cuda) swiglu_gradient = nullptr;
  decltype(&token_loss_cuda) token_loss = nullptr;
  decltype(&pool_rows_cuda) pool_rows = nullptr;
  decltype(&pool_rows_gradient_cuda) pool_rows_gradient = nullptr;
  decltype(&unit_heads_cuda) unit_heads = nullptr;
  decltype(&unit_heads_gradient_cuda) unit_heads_gradient = nullptr;
  decltype(&sum_rows_cuda) sum_rows = nullptr;
};

/// Raised with every change of the table or of a structure that it uses.
constexpr int64_t kCudaLibraryVersion = 6;
constexpr const char* kCudaLibrarySymbol = "msa_cuda_library";

}  // namespace msa::kernels

/// Never fails, and touches no device.
extern "C" const msa::kernels::CudaLibrary* msa_cuda_library();
