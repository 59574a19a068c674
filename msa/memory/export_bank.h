#pragma once
// The documents of a bank as lines of JSON, from which the same documents can be read again.

#include <cstdint>
#include <functional>
#include <string_view>

#include "msa/base/error.h"
#include "msa/memory/bank.h"

namespace msa::memory {

/// Calls `take` for each document, in the order in which they were committed, with
/// {"id", "title", "text"} and its attributes, without a line's end: what corpus::DocumentReader
/// reads. One document is in memory at a time. Documents that have been deleted or replaced since
/// the bank was opened are left out; so are damaged ones, each after a call of `on_problem`, which
/// names it as far as it can be read. Returns how many were taken. Throws what `take` and
/// `on_problem` throw.
int64_t export_documents(const Bank& bank, const std::function<void(std::string_view)>& take,
                         const std::function<void(const Error&)>& on_problem);

}  // namespace msa::memory
