#include "msa/base/error.h"

namespace msa {

std::string_view error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kNoSpace:
      return "no_space";
    case ErrorCode::kCorruption:
      return "corruption";
    case ErrorCode::kInvalidFormat:
      return "invalid_format";
    case ErrorCode::kMismatch:
      return "mismatch";
    case ErrorCode::kLocked:
      return "locked";
    case ErrorCode::kLimit:
      return "limit";
    case ErrorCode::kDevice:
      return "device";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

}  // namespace msa
