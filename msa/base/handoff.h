#pragma once
// Values from one thread to another, so that both work at once and neither runs far ahead.

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace msa {

/// Holds one value at most. All calls may run at once.
template <typename Value>
class Handoff {
 public:
  /// Waits for room. False once it is closed: the value is gone then.
  bool put(Value value) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_closed_ || !value_; });
    if (is_closed_) return false;
    value_ = std::move(value);
    changed_.notify_all();
    return true;
  }

  /// Waits for a value. Nothing once it is closed and the last value has been taken.
  std::optional<Value> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return is_closed_ || value_; });
    std::optional<Value> taken = std::move(value_);
    value_.reset();
    changed_.notify_all();
    return taken;
  }

  /// Wakes all who wait. A value that is held can still be taken.
  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Value> value_;
  bool is_closed_ = false;
};

}  // namespace msa
