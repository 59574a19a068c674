#include "msa/train/tensor_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <new>

namespace msa::train {
namespace {

/// Lives as long as any tensor counted.
struct Count {
  std::mutex mutex;
  int64_t bytes = 0;
  int64_t peak = 0;

  void add(int64_t change) {
    const std::lock_guard lock(mutex);
    bytes += change;
    peak = std::max(peak, bytes);
  }
};

/// Stands in front of the memory that a tensor gets: a deleter is told its address alone.
struct alignas(64) Counted {
  at::Allocator* inner;
  int64_t size;
  std::shared_ptr<Count> count;  // shared: tensors may outlive the counter
};

constexpr uint8_t kPriority = std::numeric_limits<uint8_t>::max();

c10::CachingAllocator::Stat stats_of(c10::Device device) {
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[0];  // of all pools
}

void release(void* data) {
  auto* counted = static_cast<Counted*>(data) - 1;
  counted->count->add(-counted->size);
  at::Allocator* inner = counted->inner;
  counted->~Counted();
  inner->raw_deallocate(counted);
}

}  // namespace

class TensorMemory::Counter : public at::Allocator {
 public:
  Counter() : inner_(c10::GetCPUAllocator()) {}

  at::DataPtr allocate(size_t n) override {
    void* memory = inner_->raw_allocate(sizeof(Counted) + n);
    auto* counted = new (memory) Counted{inner_, static_cast<int64_t>(n), count};
    count->add(counted->size);
    void* data = counted + 1;
    return {data, data, &release, at::kCPU};
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t n) const override {
    inner_->copy_data(to, from, n);
  }

  at::Allocator* inner() const { return inner_; }

  const std::shared_ptr<Count> count = std::make_shared<Count>();

 private:
  at::Allocator* inner_;
};

TensorMemory::TensorMemory(c10::Device device) : device_(device) {
  if (device.is_cpu()) {
    counter_ = std::make_unique<Counter>();
    c10::SetCPUAllocator(counter_.get(), kPriority);
  }
  forget_peak();
}

TensorMemory::~TensorMemory() {
  if (counter_ != nullptr) c10::SetCPUAllocator(counter_->inner(), kPriority);
}

int64_t TensorMemory::bytes() const {
  if (counter_ == nullptr) return stats_of(device_).current;
  const std::lock_guard lock(counter_->count->mutex);
  return counter_->count->bytes;
}

int64_t TensorMemory::peak_bytes() const {
  if (counter_ == nullptr) return stats_of(device_).peak;
  const std::lock_guard lock(counter_->count->mutex);
  return counter_->count->peak;
}

void TensorMemory::forget_peak() {
  if (counter_ == nullptr) {
    c10::getDeviceAllocator(device_.type())->resetPeakStats(device_.index());
    return;
  }
  const std::lock_guard lock(counter_->count->mutex);
  counter_->count->peak = counter_->count->bytes;
}

}  // namespace msa::train
