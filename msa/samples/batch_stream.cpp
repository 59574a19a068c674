#include "msa/samples/batch_stream.h"

#include <utility>

#include "msa/base/error.h"

namespace msa::samples {

BatchStream::BatchStream(Make make, const BatchStreamOptions& options)
    : make_(std::move(make)),
      max_ahead_(options.max_ahead),
      next_step_(options.first_step),
      to_make_(options.first_step) {
  MSA_CHECK(options.first_step >= 0, "the first step must not be negative, got ",
            options.first_step);
  MSA_CHECK(options.num_threads >= 1 && options.num_threads <= 256,
            "threads that make batches must be in [1, 256], got ", options.num_threads);
  MSA_CHECK(options.max_ahead >= 1, "batches made ahead must be 1 or more, got ",
            options.max_ahead);
  try {
    for (int64_t i = 0; i < options.num_threads; ++i) threads_.emplace_back([this] { work(); });
  } catch (...) {  // the system has no more threads
    stop();
    throw;
  }
}

BatchStream::~BatchStream() { stop(); }

void BatchStream::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BatchStream::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return is_stopping_ || to_make_ < next_step_ + max_ahead_; });
    if (is_stopping_) return;
    const int64_t step = to_make_++;
    lock.unlock();
    Made made;
    try {
      made.batch = make_(step);
    } catch (...) {
      made.failure = std::current_exception();
    }
    lock.lock();
    made_.emplace(step, std::move(made));
    changed_.notify_all();
  }
}

Batch BatchStream::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return made_.contains(next_step_); });
  const auto found = made_.find(next_step_);
  if (found->second.failure) std::rethrow_exception(found->second.failure);
  Batch batch = std::move(found->second.batch);
  made_.erase(found);
  ++next_step_;
  changed_.notify_all();
  return batch;
}

}  // namespace msa::samples
