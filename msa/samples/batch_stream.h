#pragma once
// Batches made ahead of their use.

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "msa/samples/batch.h"

namespace msa::samples {

struct BatchStreamOptions {
  int64_t first_step = 0;
  int64_t num_threads = 4;
  int64_t max_ahead = 8;  // batches made or in the making that were not handed out
};

/// Hands out make(first_step), make(first_step + 1) and so on, whatever thread made them.
class BatchStream {
 public:
  using Make = std::function<Batch(int64_t step)>;

  /// `make` is called by several threads at once until the stream is gone. Throws
  /// Error(kInvalidArgument) for options out of range.
  BatchStream(Make make, const BatchStreamOptions& options);

  /// Waits for the batches in the making, not for those that were to come.
  ~BatchStream();

  BatchStream(const BatchStream&) = delete;
  BatchStream& operator=(const BatchStream&) = delete;

  /// The batch of next_step(). Throws what make threw for it, then and ever after. One thread at a
  /// time.
  Batch next();

  int64_t next_step() const { return next_step_; }

 private:
  void work();
  void stop();

  const Make make_;
  const int64_t max_ahead_;
  int64_t next_step_;  // changed by next() alone, under the mutex

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t to_make_;  // the next step that a thread takes
  bool is_stopping_ = false;
  struct Made {
    Batch batch;
    std::exception_ptr failure;
  };
  std::map<int64_t, Made> made_;

  std::vector<std::thread> threads_;
};

}  // namespace msa::samples
