#pragma once
// A barrier for short steps of a parallel region, fair to other processes.

#include <sched.h>

#include <atomic>
#include <cstdint>

namespace msa {

/// Threads of one parallel region wait for each other. Waits by looking for some microseconds, then
/// gives the core away between looks: where another process takes a core, the thread that all wait
/// for gets to run. (OpenMP's own barrier looks on for milliseconds.)
class Barrier {
 public:
  /// All `count` threads call it, again and again, always with one count. What any of them did
  /// before is seen by all behind it.
  void wait(int64_t count) {
    const uint32_t round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int look = 0; round_.load(std::memory_order_acquire) == round; ++look) {
      if (look < kLooks) {
        pause();
      } else {
        sched_yield();
      }
    }
  }

 private:
  static constexpr int kLooks = 2000;

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  alignas(64) std::atomic<int64_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> round_{0};
};

}  // namespace msa
