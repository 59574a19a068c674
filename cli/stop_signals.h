#pragma once
// SIGINT and SIGTERM: asked once the program stops in order, asked twice it stops at once.

#include <atomic>
#include <string>

namespace msa::cli {

/// Set by SIGINT and SIGTERM while a StopSignals lives: work commits what it has and stops.
extern std::atomic<bool> stop_requested;

/// Receives SIGINT and SIGTERM on a thread of its own. To be called once, before any other thread
/// starts: all later ones inherit that these signals are not theirs. No handler may be installed
/// for any signal instead: matrix products that libtorch generates use the stack pointer for data,
/// and the kernel writes what a handler returns to where it points.
void receive_stop_signals();

/// While it lives, the first SIGINT or SIGTERM sets stop_requested and ends read_line; a second one
/// ends the program at once with 130. Without it both end the program, as they do by default.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
};

/// Lines of stdin, for whoever reads them while a StopSignals lives. One reader a program.
class LineReader {
 public:
  /// The next line without its end; false behind the last one, and once stop_requested.
  bool next(std::string& line);

 private:
  bool fill();

  std::string buffer_;
  size_t read_ = 0;  // bytes of the buffer that were given out
};

}  // namespace msa::cli
