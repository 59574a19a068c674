#include "msa/base/batch_reader.h"

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <thread>

#include "msa/base/error.h"
#include "msa/base/threads.h"

namespace msa {
namespace {

constexpr unsigned kMostUnderWay = 64;

/// What the ring has not read of it, read_at does, or says why it cannot.
void finish(const FileRead& read, int result) {
  const size_t done = result > 0 ? static_cast<size_t>(result) : 0;
  if (done < read.out.size()) read.file->read_at(read.offset + done, read.out.subspan(done));
}

}  // namespace

struct BatchReader::Ring {
  io_uring ring{};

  Ring() {
    const int error = io_uring_queue_init(kMostUnderWay, &ring, 0);
    if (error != 0) throw Error(ErrorCode::kIo, "no io_uring: ", std::strerror(-error));
  }
  ~Ring() { io_uring_queue_exit(&ring); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  void queue(const FileRead& read, size_t index) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, read.file->descriptor(), read.out.data(),
                       static_cast<unsigned>(read.out.size()), read.offset);
    io_uring_sqe_set_data64(entry, index);
  }

  /// Hands over what was queued and waits for a read; calls ended(index, result) for those that
  /// have ended.
  template <typename Ended>
  void await(const Ended& ended) {
    const int result = io_uring_submit_and_wait(&ring, 1);
    const bool can_go_on = result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY;
    if (!can_go_on) throw Error(ErrorCode::kIo, "io_uring: ", std::strerror(-result));
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring, &entry) == 0) {
      const auto index = static_cast<size_t>(io_uring_cqe_get_data64(entry));
      const int bytes = entry->res;
      io_uring_cqe_seen(&ring, entry);
      ended(index, bytes);
    }
  }

  /// Waits for what was handed over of `under_way` reads, by looking alone: the kernel still writes
  /// into their rooms.
  void drain(unsigned under_way) {
    io_uring_cqe* entry = nullptr;
    for (unsigned left = under_way - io_uring_sq_ready(&ring); left > 0;) {
      if (io_uring_peek_cqe(&ring, &entry) != 0) {
        std::this_thread::yield();
        continue;
      }
      io_uring_cqe_seen(&ring, entry);
      --left;
    }
  }
};

BatchReader::BatchReader(bool wants_ring) {
  if (!wants_ring) return;
  try {
    ring_ = std::make_unique<Ring>();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): containers often forbid it
  }
}

BatchReader::~BatchReader() = default;

void BatchReader::read(std::span<const FileRead> reads,
                       const std::function<void(size_t)>& arrived) {
  const auto read_alone = [&](size_t i) {
    reads[i].file->read_at(reads[i].offset, reads[i].out);
    arrived(i);
  };
  const bool has_descriptor =
      std::ranges::any_of(reads, [](const FileRead& read) { return read.file->descriptor() >= 0; });
  if (!ring_ || !has_descriptor) {
    parallel_for(static_cast<int64_t>(reads.size()),
                 [&](int64_t i) { read_alone(static_cast<size_t>(i)); });
    return;
  }
  std::exception_ptr failure;
  const auto noting_failure = [&](const auto& work) {
    if (failure) return;
    try {
      work();
    } catch (...) {
      failure = std::current_exception();  // what is under way must end first
    }
  };
  unsigned under_way = 0;
  for (size_t next = 0; next < reads.size() || under_way > 0;) {
    if (failure) next = reads.size();
    while (next < reads.size() && under_way < kMostUnderWay) {
      const size_t i = next++;
      if (reads[i].file->descriptor() < 0) {
        noting_failure([&] { read_alone(i); });
        continue;
      }
      ring_->queue(reads[i], i);
      ++under_way;
    }
    if (under_way == 0) continue;
    try {
      ring_->await([&](size_t i, int result) {
        --under_way;
        noting_failure([&] {
          finish(reads[i], result);
          arrived(i);
        });
      });
    } catch (...) {
      ring_->drain(under_way);
      ring_.reset();  // from now on threads read
      throw;
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace msa
