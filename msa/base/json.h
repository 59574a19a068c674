#pragma once
// The gate that every JSON text from outside passes: bounded depth and size, no duplicate keys,
// valid UTF-8.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "msa/base/error.h"

namespace msa {

using Json = nlohmann::json;                 // read
using OrderedJson = nlohmann::ordered_json;  // written: keys stay in the order they were set

struct JsonLimits {
  uint64_t max_bytes = uint64_t{64} << 20;
  int max_depth = 64;
  int64_t max_values = int64_t{1} << 22;  // a value takes up to 32 times the room of its text
};

/// Parses one JSON value. `what` names the text in messages ("config.json", "docs.jsonl line 7").
/// Throws Error(kInvalidFormat), or Error(kLimit) when a limit is passed; never another exception.
Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

/// The same, for what must not end the process where memory ends: a Json of its own allocates when
/// it is destroyed. Needs no memory to go.
class ParsedJson {
 public:
  ParsedJson(std::string_view text, std::string_view what, const JsonLimits& limits = {});
  ~ParsedJson();
  ParsedJson(const ParsedJson&) = delete;
  ParsedJson& operator=(const ParsedJson&) = delete;

  const Json& operator*() const { return value_; }
  const Json* operator->() const { return &value_; }

  /// Gives the value away.
  Json take() && { return std::move(value_); }

 private:
  ParsedJson() = default;

  Json value_;
};

/// The member `key` of an object as an integer in [lowest, highest].
/// Throws Error(kInvalidFormat) naming `what` and the key when it is absent, of another type or
/// outside.
int64_t json_integer(const Json& object, const char* key, int64_t lowest, int64_t highest,
                     std::string_view what);
double json_number(const Json& object, const char* key, double lowest, double highest,
                   std::string_view what);
bool json_bool(const Json& object, const char* key, std::string_view what);
std::string json_string(const Json& object, const char* key, std::string_view what);

/// True if the object has the key with a value other than null.
bool json_has(const Json& object, const char* key);

/// One line of JSON; bytes that are not UTF-8 are replaced by U+FFFD.
template <typename AnyJson>
std::string to_line(const AnyJson& value) {
  return value.dump(-1, ' ', false, AnyJson::error_handler_t::replace);
}

}  // namespace msa
