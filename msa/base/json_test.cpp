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

TEST(Json, TextOfTooManyBytesIsRefused) {
  EXPECT_EQ(code_of("[1234]", {.max_bytes = 5}), ErrorCode::kLimit);
  EXPECT_NO_THROW(parse_json("[123]", "text", {.max_bytes = 5}));
}

TEST(Json, NumbersStringsAndTruthsAreOfTheirTypeAndInRange) {
  const Json value = parse_json(R"({"n": 2.5, "i": 3, "t": true, "s": "x", "null": null})", "text");
  EXPECT_EQ(json_number(value, "n", 2.5, 2.5, "text"), 2.5);
  EXPECT_EQ(json_number(value, "i", 0, 3, "text"), 3.0);
  EXPECT_TRUE(json_bool(value, "t", "text"));
  EXPECT_EQ(json_string(value, "s", "text"), "x");
  const auto expect_refused = [](const auto& read, const std::string& message) {
    try {
      read();
      ADD_FAILURE() << message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_EQ(error.what(), message);
    }
  };
  expect_refused([&] { json_number(value, "n", 0, 2, "text"); },
                 R"(text: "n" must be a number in [0, 2], got 2.5)");
  expect_refused([&] { json_number(value, "n", 3, 4, "text"); },
                 R"(text: "n" must be a number in [3, 4], got 2.5)");
  expect_refused([&] { json_number(value, "s", 0, 2, "text"); },
                 R"(text: "s" must be a number in [0, 2], got "x")");
  expect_refused([&] { json_integer(value, "i", 0, 2, "text"); },
                 R"(text: "i" must be an integer in [0, 2], got 3)");
  expect_refused([&] { json_bool(value, "i", "text"); },
                 R"(text: "i" must be true or false, got 3)");
  expect_refused([&] { json_string(value, "null", "text"); },
                 R"(text: "null" must be a string, got null)");
  expect_refused([&] { json_string(Json::array(), "s", "text"); },
                 R"(text: the key "s" is missing)");
}

}  // namespace
}  // namespace msa
