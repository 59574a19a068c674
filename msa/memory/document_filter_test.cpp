#include "msa/memory/document_filter.h"

#include <gtest/gtest.h>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

Document document_with(const std::string& attributes) {
  return {.row = 1,
          .name = "a",
          .title = "On tides",
          .text = "text",
          .attributes = attributes,
          .source = "sea.jsonl",
          .passages = {}};
}

bool matches(const std::vector<std::string>& conditions, const std::string& attributes) {
  return DocumentFilter(conditions).matches(document_with(attributes));
}

TEST(DocumentFilter, WithoutConditionsEveryDocumentCounts) {
  EXPECT_TRUE(DocumentFilter().is_empty());
  EXPECT_TRUE(matches({}, "{}"));
  EXPECT_TRUE(matches({}, "no JSON: nobody looks"));
}

TEST(DocumentFilter, EqualIsAStringOrTheValueThatIsSpelled) {
  EXPECT_TRUE(matches({"lang=en"}, R"({"lang":"en"})"));
  EXPECT_FALSE(matches({"lang=en"}, R"({"lang":"english"})"));
  EXPECT_FALSE(matches({"lang=en"}, "{}"));
  EXPECT_TRUE(matches({"year=1999"}, R"({"year":1999})"));
  EXPECT_TRUE(matches({"year=1999"}, R"({"year":1999.0})"));
  EXPECT_TRUE(matches({"year=1999"}, R"({"year":"1999"})"));
  EXPECT_FALSE(matches({"year=1999"}, R"({"year":"1999.0"})"));
  EXPECT_TRUE(matches({"open=true"}, R"({"open":true})"));
  EXPECT_FALSE(matches({"open=1"}, R"({"open":true})"));
  EXPECT_TRUE(matches({"open=null"}, R"({"open":null})"));
  EXPECT_TRUE(matches({"empty="}, R"({"empty":""})"));
  EXPECT_TRUE(matches({"formula=a=b"}, R"({"formula":"a=b"})"));
  EXPECT_FALSE(matches({"list=[1]"}, R"({"list":[[1]]})"));
}

TEST(DocumentFilter, OfAnArrayOneElementIsEnough) {
  EXPECT_TRUE(matches({"tags=red"}, R"({"tags":["blue","red"]})"));
  EXPECT_TRUE(matches({"tags=7"}, R"({"tags":["blue",7]})"));
  EXPECT_FALSE(matches({"tags!=red"}, R"({"tags":["blue","red"]})"));
  EXPECT_FALSE(matches({"tags=red"}, R"({"tags":[]})"));
}

TEST(DocumentFilter, UnequalHoldsWhereThereIsNoSuchAttribute) {
  EXPECT_TRUE(matches({"lang!=en"}, "{}"));
  EXPECT_TRUE(matches({"lang!=en"}, R"({"lang":"de"})"));
  EXPECT_FALSE(matches({"lang!=en"}, R"({"lang":"en"})"));
}

TEST(DocumentFilter, NumbersAreComparedAsNumbersAndDatesByBytes) {
  EXPECT_TRUE(matches({"n<10"}, R"({"n":9})"));
  EXPECT_FALSE(matches({"n<10"}, R"({"n":10})"));
  EXPECT_TRUE(matches({"n<=10"}, R"({"n":10})"));
  EXPECT_TRUE(matches({"n>-1.5"}, R"({"n":-1})"));
  EXPECT_TRUE(matches({"n>=1e3"}, R"({"n":1000})"));
  EXPECT_FALSE(matches({"n>=1"}, R"({"n":"2"})")) << "a string is no number";
  EXPECT_FALSE(matches({"n>=1"}, "{}"));
  EXPECT_TRUE(matches({"day>=2024-02-28"}, R"({"day":"2024-02-29"})"));
  EXPECT_FALSE(matches({"day>2024-02-29"}, R"({"day":"2024-02-29"})"));
  EXPECT_FALSE(matches({"day<2024-03"}, R"({"day":20240229})"));
}

TEST(DocumentFilter, AllConditionsMustHold) {
  const std::string attributes = R"({"lang":"en","year":2001})";
  EXPECT_TRUE(matches({"lang=en", "year>2000", "year<=2001"}, attributes));
  EXPECT_FALSE(matches({"lang=en", "year>2001"}, attributes));
}

TEST(DocumentFilter, WhatTheBankKnowsStandsBehindTheAttributes) {
  EXPECT_TRUE(matches({"source=sea.jsonl"}, "{}"));
  EXPECT_TRUE(matches({"name=a", "title=On tides"}, "{}"));
  EXPECT_FALSE(matches({"source=sea.jsonl"}, R"({"source":"elsewhere"})"));
  EXPECT_FALSE(matches({"text=text"}, "{}"));
}

TEST(DocumentFilter, WhatIsNoConditionIsRefused) {
  for (const std::string condition : {"", "lang", "=en", "!", "!en", "lang!en", "<3"}) {
    try {
      DocumentFilter({condition});
      FAIL() << condition;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find("\"" + condition + "\""), std::string::npos);
    }
  }
}

TEST(DocumentFilter, AttributesThatAreNoObjectAreNamed) {
  for (const std::string attributes : {"", "[]", "{", "3"}) {
    try {
      matches({"a=b"}, attributes);
      FAIL() << attributes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_NE(std::string(error.what()).find("\"a\""), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace msa::memory
