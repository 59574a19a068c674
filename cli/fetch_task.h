#pragma once
// What msa bench fetch measures: chosen documents of all layers, brought together on the GPU.

#include <cstdint>
#include <vector>

#include "msa/kernels/gpu_array.h"
#include "msa/memory/gpu_source.h"

namespace msa::cli {

/// The rows of all layers of some documents.
class FetchTask {
 public:
  /// Both must outlive it. `documents` are chosen in every layer, none of more than
  /// `document_chunks`.
  FetchTask(const kernels::Gpu& gpu, const memory::GpuSource& source, int64_t documents,
            int64_t document_chunks);

  int64_t capacity() const { return capacity_; }  // rows of a layer
  int64_t num_layers() const { return source_.shape().num_layers; }

  /// Other documents in every layer and round, as far as there are others: those of round `number`.
  void choose(int64_t number);
  const std::vector<int64_t>& documents() const { return documents_; }  // [L, documents]

  /// Gathers layer after layer, and waits.
  void run();

  /// Throws Error(kInternal) unless the rows of the first and the last layer are those that the
  /// bank holds.
  void expect_fetched(const memory::BankSegments& segments) const;

 private:
  std::vector<BFloat16> rows(int64_t layer) const;
  BFloat16* key(int64_t layer) const {
    return rows_.data() + 2 * layer * capacity() * source_.shape().key_dim();
  }

  const kernels::Gpu& gpu_;
  const memory::GpuSource& source_;
  int64_t num_documents_;
  int64_t capacity_;
  kernels::GpuStream stream_;
  kernels::GpuArray<kernels::ScoredDocument> selected_;  // [L, documents]
  kernels::GpuArray<BFloat16> rows_;                     // [L, 2 (K, V), capacity, F]
  kernels::GpuArray<int32_t> counts_;
  std::vector<int64_t> documents_;
};

}  // namespace msa::cli
