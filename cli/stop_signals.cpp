#include "cli/stop_signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "msa/base/error.h"

namespace msa::cli {

namespace {

std::atomic<bool> stop_requested{false};

std::atomic<bool> stops_in_order{false};
int stop_event = -1;  // readable once stop_requested

sigset_t stop_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

/// What the signal does by default; nothing if whoever started the program had it ignored.
void raise_unblocked(int signal) {
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  raise(signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

void wait_for_signals() {
  const sigset_t signals = stop_signals();
  for (int signal = 0;;) {
    if (sigwait(&signals, &signal) != 0) continue;
    if (!stops_in_order) {
      raise_unblocked(signal);
      continue;
    }
    if (stop_requested.exchange(true)) _exit(130);
    eventfd_write(stop_event, 1);
  }
}

}  // namespace

void receive_stop_signals() {
  stop_event = eventfd(0, EFD_CLOEXEC);
  if (stop_event < 0) throw Error(ErrorCode::kIo, "eventfd: ", std::strerror(errno));
  const sigset_t signals = stop_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(wait_for_signals).detach();
}

StopAsked stop_in_order() {
  stops_in_order = true;
  return [] { return stop_requested.load(); };
}

bool LineReader::next(std::string& line) {
  while (true) {
    if (stop_requested) return false;
    const size_t end = buffer_.find('\n', read_);
    if (end != std::string::npos) {
      line.assign(buffer_, read_, end - read_);
      read_ = end + 1;
      return true;
    }
    if (fill()) continue;
    line.assign(buffer_, read_);
    buffer_.clear();
    read_ = 0;
    return !line.empty() && !stop_requested;
  }
}

/// Waits for bytes; false at the end of stdin and at a stop.
bool LineReader::fill() {
  buffer_.erase(0, read_);
  read_ = 0;
  pollfd files[2] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                     {.fd = stop_event, .events = POLLIN, .revents = 0}};
  while (poll(files, 2, -1) < 0) {
    if (errno != EINTR) throw Error(ErrorCode::kIo, "stdin: ", std::strerror(errno));
  }
  if (files[1].revents != 0) return false;
  char bytes[4096];
  const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
  if (count < 0) throw Error(ErrorCode::kIo, "stdin: ", std::strerror(errno));
  buffer_.append(bytes, static_cast<size_t>(count));
  return count > 0;
}

}  // namespace msa::cli
