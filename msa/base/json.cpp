#include "msa/base/json.h"

#include <set>
#include <vector>

namespace msa {
namespace {

/// Walks the text once and builds nothing: stops at the first broken rule.
class Gate final : public nlohmann::json_sax<Json> {
 public:
  explicit Gate(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return one_more(); }
  bool boolean(bool) override { return one_more(); }
  bool number_integer(number_integer_t) override { return one_more(); }
  bool number_unsigned(number_unsigned_t) override { return one_more(); }
  bool number_float(number_float_t, const string_t&) override { return one_more(); }
  bool string(string_t&) override { return one_more(); }
  bool binary(binary_t&) override { return one_more(); }
  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return deeper();
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& value) override {
    if (keys_.back().insert(value).second) return true;
    problem_ = "the key \"" + value.substr(0, 100) + "\" stands twice in one object";
    return false;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    problem_ = "not JSON at byte " + std::to_string(position) + ": " + error.what();
    return false;
  }

  const std::string& problem() const { return problem_; }
  bool is_past_limit() const {
    return depth_ > limits_.max_depth || num_values_ > limits_.max_values;
  }

 private:
  bool one_more() {
    if (++num_values_ <= limits_.max_values) return true;
    problem_ = "more than " + std::to_string(limits_.max_values) + " values";
    return false;
  }
  bool deeper() {
    if (++depth_ <= limits_.max_depth) return one_more();
    problem_ = "nested deeper than " + std::to_string(limits_.max_depth) + " levels";
    return false;
  }

  JsonLimits limits_;
  int64_t num_values_ = 0;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string problem_;
};

const Json& member(const Json& object, const char* key, std::string_view what) {
  if (!object.is_object() || !object.contains(key)) {
    throw Error(ErrorCode::kInvalidFormat, what, ": the key \"", key, "\" is missing");
  }
  return object.at(key);
}

[[noreturn]] void throw_wrong(std::string_view what, const char* key, std::string_view wanted,
                              const Json& found) {
  throw Error(ErrorCode::kInvalidFormat, what, ": \"", key, "\" must be ", wanted, ", got ",
              to_line(found).substr(0, 100));
}

/// From the innermost values on: the destructor of one that holds none takes no memory.
void take_apart(Json& value) {
  for (Json& part : value) {
    if (part.is_structured()) take_apart(part);
  }
  value.clear();
}

}  // namespace

ParsedJson::ParsedJson(std::string_view text, std::string_view what, const JsonLimits& limits)
    : ParsedJson() {
  if (text.size() > limits.max_bytes) {
    throw Error(ErrorCode::kLimit, what, ": ", text.size(), " bytes of JSON, at most ",
                limits.max_bytes, " are accepted");
  }
  // The parser would take it for the end of the text, whatever stands behind it.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    throw Error(ErrorCode::kInvalidFormat, what, ": not JSON at byte ", zero, ": a zero byte");
  }
  Gate gate(limits);
  if (!Json::sax_parse(text.begin(), text.end(), &gate)) {
    throw Error(gate.is_past_limit() ? ErrorCode::kLimit : ErrorCode::kInvalidFormat, what, ": ",
                gate.problem());
  }
  // As Json::parse does it, but into a value that is taken apart if memory ends on the way.
  nlohmann::detail::json_sax_dom_parser<Json> builder(value_);
  Json::sax_parse(text.begin(), text.end(), &builder);
}

ParsedJson::~ParsedJson() {
  if (value_.is_structured()) take_apart(value_);
}

Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits) {
  return ParsedJson(text, what, limits).take();
}

int64_t json_integer(const Json& object, const char* key, int64_t lowest, int64_t highest,
                     std::string_view what) {
  const Json& value = member(object, key, what);
  const std::string wanted =
      "an integer in [" + std::to_string(lowest) + ", " + std::to_string(highest) + "]";
  if (!value.is_number_integer()) throw_wrong(what, key, wanted, value);
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    throw_wrong(what, key, wanted, value);
  }
  const auto number = value.get<int64_t>();
  if (number < lowest || number > highest) throw_wrong(what, key, wanted, value);
  return number;
}

double json_number(const Json& object, const char* key, double lowest, double highest,
                   std::string_view what) {
  const Json& value = member(object, key, what);
  std::ostringstream wanted;
  wanted << "a number in [" << lowest << ", " << highest << "]";
  if (!value.is_number()) throw_wrong(what, key, wanted.str(), value);
  const auto number = value.get<double>();
  if (!(number >= lowest && number <= highest)) throw_wrong(what, key, wanted.str(), value);
  return number;
}

bool json_bool(const Json& object, const char* key, std::string_view what) {
  const Json& value = member(object, key, what);
  if (!value.is_boolean()) throw_wrong(what, key, "true or false", value);
  return value.get<bool>();
}

std::string json_string(const Json& object, const char* key, std::string_view what) {
  const Json& value = member(object, key, what);
  if (!value.is_string()) throw_wrong(what, key, "a string", value);
  return value.get<std::string>();
}

bool json_has(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && !object.at(key).is_null();
}

}  // namespace msa
