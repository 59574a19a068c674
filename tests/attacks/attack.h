#pragma once
// A file made to harm its reader, and how it must be refused.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa::attacks {

constexpr int64_t kMebibyte = int64_t{1} << 20;

/// Reads the file with the reader that it is meant for.
using Reader = std::function<void(const std::filesystem::path& path)>;

struct Attack {
  std::string name;
  std::string file;   // its name
  std::string bytes;  // written to it
  Reader read;
  ErrorCode code = ErrorCode::kInvalidFormat;
  std::string says;                     // a part of the message, beside the file's name
  int64_t max_memory = 64 * kMebibyte;  // bytes over what was in use before
};

/// Safetensors, their index, segments, catalogs and token files.
std::vector<Attack> storage_attacks();

/// JSON, tokenizers, documents and questions.
std::vector<Attack> text_attacks();

}  // namespace msa::attacks
