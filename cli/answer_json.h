#pragma once
// Answers as JSON, with the stable field names of docs/json.md, and as text for people.

#include <string>

#include "msa/base/json.h"
#include "msa/engine/answer.h"

namespace msa::cli {

OrderedJson to_json(const engine::Answer& answer);
OrderedJson to_json(const engine::RouteResult& result);

/// What a person reads: answer, evidence, time; with `shows_trace` the rounds as well.
std::string to_text(const engine::Answer& answer, bool shows_trace);

}  // namespace msa::cli
