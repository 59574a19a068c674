#pragma once
// What every fuzzer says of a reader: it takes its input or throws an Error that names the file.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "msa/base/error.h"

namespace msa::fuzz {

/// Stops the run: the input that led here is kept.
[[noreturn]] inline void fail(std::string_view what, std::string_view detail = {}) {
  std::fprintf(stderr, "FAILED: %.*s %.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

inline void expect(bool condition, std::string_view what, std::string_view detail = {}) {
  if (!condition) fail(what, detail);
}

/// True if `read` returns, false if it refuses. Any exception but an Error leaves this call, which
/// ends the run, as do an Error that is not about the file (kInternal, and kInvalidArgument: a call
/// that a check of the file should have prevented) and one that does not say `name`.
template <typename Read>
bool accepts(std::string_view name, const Read& read) {
  try {
    read();
    return true;
  } catch (const Error& error) {
    const std::string_view what = error.what();
    expect(error.code() != ErrorCode::kInternal && error.code() != ErrorCode::kInvalidArgument,
           "an error of the reader's own", what);
    expect(what.find(name) != std::string_view::npos, "a message without the file", what);
    return false;
  }
}

inline std::string text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace msa::fuzz
