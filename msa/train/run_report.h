#pragma once
// One self-contained page with the curves of a run.

#include <span>
#include <string>

#include "msa/base/json.h"

namespace msa::train {

/// HTML with drawings inside it, from lines of a RunLog: losses, routing, rate of learning, length
/// of the gradient and speed over steps, recall of evaluations with a curve for every size of
/// memory, and where phases begin. A long run is shown by means over runs of steps. Of a step that
/// stands twice the last line counts. Loads nothing from elsewhere.
std::string run_report(std::span<const Json> log, const std::string& title);

}  // namespace msa::train
