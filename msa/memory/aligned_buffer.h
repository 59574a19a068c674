#pragma once
// Bytes at the start of a cache line, in large pages where the system gives them.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace msa::memory {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Not initialised. Throws std::bad_alloc.
  explicit AlignedBuffer(int64_t num_bytes) : num_bytes_(num_bytes) {
    if (num_bytes == 0) return;
    const bool is_large = num_bytes >= kLargePage;
    const auto alignment = static_cast<size_t>(is_large ? kLargePage : 64);
    const size_t rounded = (static_cast<size_t>(num_bytes) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
    if (!data_) throw std::bad_alloc();
#if defined(__linux__)
    if (is_large) madvise(data_.get(), rounded, MADV_HUGEPAGE);
#endif
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  int64_t size() const { return num_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  static constexpr int64_t kLargePage = int64_t{2} << 20;

  std::unique_ptr<std::byte, Free> data_;
  int64_t num_bytes_ = 0;
};

}  // namespace msa::memory
