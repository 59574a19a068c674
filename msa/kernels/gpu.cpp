#include "msa/kernels/gpu.h"

#include <dlfcn.h>

#include <utility>

#include "msa/base/error.h"

namespace msa::kernels {

std::filesystem::path Gpu::beside_the_program() {
  std::error_code failure;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
  return program.parent_path() / "libmsa_cuda.so";
}

std::unique_ptr<Gpu> Gpu::open(const std::filesystem::path& library) {
  auto gpu = std::unique_ptr<Gpu>(new Gpu());
  // Never unloaded: its errors and the driver's threads outlive a Gpu.
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    throw Error(ErrorCode::kDevice, "no GPU: ", ::dlerror(), " (built by the preset cuda)");
  }
  const auto get_library =
      reinterpret_cast<decltype(&msa_cuda_library)>(::dlsym(handle, kCudaLibrarySymbol));
  if (get_library == nullptr) {
    throw Error(ErrorCode::kDevice, "no GPU: ", library.string(), " has no ", kCudaLibrarySymbol);
  }
  gpu->library_ = get_library();
  if (gpu->library_->version != kCudaLibraryVersion) {
    throw Error(ErrorCode::kDevice, "no GPU: ", library.string(), " is of version ",
                gpu->library_->version, ", this program needs ", kCudaLibraryVersion);
  }
  gpu->library_->find_device(gpu->facts_);
  return gpu;
}

GpuBuffer::GpuBuffer(const Gpu& gpu, int64_t num_bytes)
    : library_(&gpu.library()), num_bytes_(num_bytes) {
  if (num_bytes == 0) return;
  data_ = static_cast<std::byte*>(library_->allocate(num_bytes));
  if (data_ == nullptr) {
    GpuFacts facts;
    library_->find_device(facts);
    throw Error(ErrorCode::kLimit, "the GPU has no room for ", num_bytes,
                " bytes: ", facts.free_bytes, " of ", facts.memory_bytes, " are free");
  }
}

GpuBuffer::~GpuBuffer() {
  if (data_ != nullptr) library_->release(data_);
}

GpuBuffer::GpuBuffer(GpuBuffer&& other) noexcept
    : library_(other.library_),
      data_(std::exchange(other.data_, nullptr)),
      num_bytes_(std::exchange(other.num_bytes_, 0)) {}

GpuBuffer& GpuBuffer::operator=(GpuBuffer&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  return *this;
}

void GpuBuffer::copy_from_host(const void* from) { library_->copy(data_, from, num_bytes_); }
void GpuBuffer::copy_to_host(void* to) const { library_->copy(to, data_, num_bytes_); }

PinnedBuffer::PinnedBuffer(const Gpu& gpu, int64_t num_bytes)
    : library_(&gpu.library()), num_bytes_(num_bytes) {
  if (num_bytes == 0) return;
  data_ = static_cast<std::byte*>(library_->allocate_host(num_bytes));
  if (data_ == nullptr) {
    throw Error(ErrorCode::kLimit, "the host has no room for ", num_bytes,
                " bytes that the GPU can read");
  }
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) library_->release_host(data_, num_bytes_);
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : library_(other.library_),
      data_(std::exchange(other.data_, nullptr)),
      num_bytes_(std::exchange(other.num_bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(data_, other.data_);
  std::swap(num_bytes_, other.num_bytes_);
  return *this;
}

GpuStream::GpuStream(const Gpu& gpu, bool is_urgent)
    : library_(&gpu.library()), stream_(library_->create_stream(is_urgent)) {}
GpuStream::~GpuStream() { library_->destroy_stream(stream_); }
void GpuStream::synchronize() const { library_->synchronize_stream(stream_); }

GpuEvent::GpuEvent(const Gpu& gpu) : library_(&gpu.library()), event_(library_->create_event()) {}
GpuEvent::~GpuEvent() { library_->destroy_event(event_); }
void GpuEvent::record(CudaStream stream) { library_->record_event(event_, stream); }
void GpuEvent::await(CudaStream stream) const { library_->await_event(event_, stream); }
void GpuEvent::synchronize() const { library_->synchronize_event(event_); }

}  // namespace msa::kernels
