#pragma once
// SIGINT and SIGTERM: asked once the program stops in order, asked twice it stops at once.

#include <string>

#include "msa/base/stop.h"

namespace msa::cli {

/// Receives SIGINT and SIGTERM on a thread of its own. To be called once, before any other thread
/// starts: all later ones inherit that these signals are not theirs. No handler may be installed
/// for any signal instead: matrix products that libtorch generates use the stack pointer for data,
/// and the kernel writes what a handler returns to where it points.
void receive_stop_signals();

/// For commands that commit what they have and stop: from now on the first SIGINT or SIGTERM makes
/// what is returned true and ends LineReader::next; a second one ends the program at once with 130.
/// Of a program that never calls it the first one does, as by default.
StopAsked stop_in_order();

/// Lines of stdin, for whoever reads them once signals stop in order. One reader a program.
class LineReader {
 public:
  /// The next line without its end; false behind the last one, and once a stop was asked for.
  bool next(std::string& line);

 private:
  bool fill();

  std::string buffer_;
  size_t read_ = 0;  // bytes of the buffer that were given out
};

}  // namespace msa::cli
