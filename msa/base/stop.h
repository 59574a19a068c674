#pragma once
// How long work is asked to end in order.

#include <functional>
#include <string_view>

#include "msa/base/error.h"

namespace msa {

/// Asked between two pieces of work, by any of its threads: true once the work should end. Empty:
/// never.
using StopAsked = std::function<bool()>;

/// Throws Error(kInterrupted) that names the work if it should.
inline void expect_no_stop(const StopAsked& stop, std::string_view work) {
  if (stop && stop()) throw Error(ErrorCode::kInterrupted, work, " was stopped");
}

}  // namespace msa
