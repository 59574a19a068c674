#pragma once
// The GPU of this process: libmsa_cuda.so, loaded when it is there and can be used.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "msa/kernels/cuda_library.h"

namespace msa::kernels {

/// A loaded library and its first device. May be used from several threads.
class Gpu {
 public:
  /// Loads the library and asks for the device. Throws Error(kDevice) that says what is missing:
  /// the library, a driver, a GPU, or one that is new enough.
  static std::unique_ptr<Gpu> open(const std::filesystem::path& library = beside_the_program());

  /// libmsa_cuda.so in the program's folder.
  static std::filesystem::path beside_the_program();

  const GpuFacts& facts() const { return facts_; }

  /// The library's kernels.
  const CudaLibrary& library() const { return *library_; }

 private:
  Gpu() = default;

  const CudaLibrary* library_ = nullptr;
  GpuFacts facts_;
};

/// Device memory.
class GpuBuffer {
 public:
  GpuBuffer() = default;

  /// Throws Error(kLimit) that names the bytes wanted if they are not there.
  GpuBuffer(const Gpu& gpu, int64_t num_bytes);
  ~GpuBuffer();
  GpuBuffer(GpuBuffer&& other) noexcept;
  GpuBuffer& operator=(GpuBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  int64_t size() const { return num_bytes_; }

  /// Copies all bytes and waits.
  void copy_from_host(const void* from);
  void copy_to_host(void* to) const;

 private:
  const CudaLibrary* library_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

/// Memory of the host that the GPU reads at the same address, and that is copied at full speed.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;

  /// Throws Error(kLimit) that names the bytes wanted if they are not there.
  PinnedBuffer(const Gpu& gpu, int64_t num_bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  int64_t size() const { return num_bytes_; }

 private:
  const CudaLibrary* library_ = nullptr;
  std::byte* data_ = nullptr;
  int64_t num_bytes_ = 0;
};

/// A queue of work of its own. What is queued when it goes is still done.
class GpuStream {
 public:
  /// As CudaLibrary::create_stream.
  explicit GpuStream(const Gpu& gpu, bool is_urgent = false);
  ~GpuStream();
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;

  CudaStream get() const { return stream_; }

  /// Waits for all that was queued. Throws Error(kDevice) if some of it failed.
  void synchronize() const;

 private:
  const CudaLibrary* library_;
  CudaStream stream_;
};

/// A place in a stream that others wait for.
class GpuEvent {
 public:
  explicit GpuEvent(const Gpu& gpu);
  ~GpuEvent();
  GpuEvent(const GpuEvent&) = delete;
  GpuEvent& operator=(const GpuEvent&) = delete;

  /// The place behind all that is queued on `stream` now; an earlier one is forgotten.
  void record(CudaStream stream);

  /// What is queued on `stream` from now on waits for the place; for none if there is none.
  void await(CudaStream stream) const;

  /// Waits for all that was queued before the place. Throws Error(kDevice) if some of it failed.
  void synchronize() const;

 private:
  const CudaLibrary* library_;
  CudaEvent event_;
};

}  // namespace msa::kernels
