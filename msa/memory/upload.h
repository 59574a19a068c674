#pragma once
// Large amounts of stored bytes on their way to the GPU: read on all threads, copied meanwhile.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "msa/kernels/gpu.h"

namespace msa::memory {

/// Bytes that are read together.
struct UploadPart {
  std::byte* to = nullptr;
  int64_t num_bytes = 0;                           // best up to kMostUploaded
  std::function<void(std::span<std::byte>)> read;  // fills the bytes; runs on any thread
};
constexpr int64_t kMostUploaded = int64_t{8} << 20;

/// Fills every part's place on the GPU. Passes on what `read` throws; the rest is undefined then.
void upload(const kernels::Gpu& gpu, std::span<const UploadPart> parts);

}  // namespace msa::memory
