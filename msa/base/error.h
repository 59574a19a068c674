#pragma once
// The one exception type, its codes, and the check macro.

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace msa {

/// What went wrong, in the terms that a caller can act on. The program's exit code follows from it.
enum class ErrorCode {
  kInvalidArgument,  // a value given by the caller is not usable
  kNotFound,         // a file, bank, document or tensor does not exist
  kIo,               // the operating system refused a read, write, sync or rename
  kNoSpace,          // the disk is full
  kCorruption,       // bytes that were stored are not what was written
  kInvalidFormat,    // a file is not of the form it claims (model, tokenizer, documents)
  kMismatch,         // two valid things do not belong together (bank and model)
  kLocked,           // another process is writing to the bank
  kLimit,            // a configured limit was passed
  kDevice,           // an accelerator failed or is missing
  kInterrupted,      // the user asked to stop
  kInternal,         // our own mistake
};

/// Stable lower-case name of a code ("invalid_argument"), used in JSON output.
std::string_view error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  /// The message is the parts joined as by operator<<.
  template <typename... Parts>
  explicit Error(ErrorCode code, const Parts&... parts)
      : std::runtime_error(join(parts...)), code_(code) {}

  ErrorCode code() const { return code_; }

 private:
  template <typename... Parts>
  static std::string join(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
  }

  ErrorCode code_;
};

}  // namespace msa

/// Throws Error(kInvalidArgument) with the given message parts unless the condition holds.
#define MSA_CHECK(condition, ...)                                          \
  do {                                                                     \
    if (!(condition)) {                                                    \
      throw ::msa::Error(::msa::ErrorCode::kInvalidArgument, __VA_ARGS__); \
    }                                                                      \
  } while (false)
