#include "msa/base/json.h"

#include <gtest/gtest.h>

#include <string>

namespace msa {
namespace {

ErrorCode code_of(const std::string& text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, "text", limits);
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kInternal;
}

TEST(Json, DeepNestingIsRefusedBeforeAnythingIsBuilt) {
  EXPECT_EQ(code_of(std::string(100'000, '[')), ErrorCode::kLimit);
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "text"));
  EXPECT_EQ(code_of(std::string(65, '[') + std::string(65, ']')), ErrorCode::kLimit);
}

TEST(Json, DuplicateKeysAreRefused) {
  EXPECT_EQ(code_of(R"({"a": 1, "b": {"a": 2, "a": 3}})"), ErrorCode::kInvalidFormat);
  EXPECT_NO_THROW(parse_json(R"({"a": 1, "b": {"a": 2}})", "text"));
}

TEST(Json, BrokenTextNamesTheByte) {
  try {
    parse_json("{\"a\": }", "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("config.json: not JSON at byte 7"), std::string::npos)
        << error.what();
  }
}

TEST(Json, InvalidUtf8IsRefused) { EXPECT_EQ(code_of("\"\xc3\x28\""), ErrorCode::kInvalidFormat); }

TEST(Json, ValuesAreCounted) {
  const JsonLimits limits{.max_values = 4};
  EXPECT_NO_THROW(parse_json(R"([1,{"a":2}])", "text", limits));
  try {
    parse_json(R"([1,{"a":[]},2])", "text", limits);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
  }
}

TEST(Json, NothingHidesBehindAZeroByte) {
  using namespace std::string_literals;
  for (const std::string& text : {"{}\0"s, "{}\0x"s, "\0"s, "[1,\0]"s}) {
    EXPECT_EQ(code_of(text), ErrorCode::kInvalidFormat) << text;
  }
}

TEST(Json, IntegersAreRangeChecked) {
  const Json value = parse_json(R"({"n": 18446744073709551615, "m": 3, "f": 3.5})", "text");
  EXPECT_THROW(json_integer(value, "n", 0, 10, "text"), Error);
  EXPECT_THROW(json_integer(value, "f", 0, 10, "text"), Error);
  EXPECT_THROW(json_integer(value, "absent", 0, 10, "text"), Error);
  EXPECT_THROW(json_integer(value, "m", 4, 10, "text"), Error);
  EXPECT_EQ(json_integer(value, "m", 0, 10, "text"), 3);
}

}  // namespace
}  // namespace msa
