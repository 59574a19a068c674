#include "msa/memory/export_bank.h"

#include <sqlite3.h>

#include <string>
#include <vector>

#include "msa/base/json.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"

namespace msa::memory {
namespace {

struct Exported {
  std::vector<std::string> lines;
  std::vector<std::string> problems;
};

Exported export_all(const Bank& bank) {
  Exported exported;
  const int64_t count = export_documents(
      bank, [&](std::string_view line) { exported.lines.emplace_back(line); },
      [&](const Error& error) { exported.problems.emplace_back(error.what()); });
  EXPECT_EQ(count, static_cast<int64_t>(exported.lines.size()));
  return exported;
}

class ExportBankTest : public BankTest {
 protected:
  static void put(BankWriter& writer, const std::vector<std::string>& names,
                  const std::string& attributes = "{}") {
    RandomBatch batch = BankOracle::join(BankOracle::make(kShape, names, writer.next_passage_id()));
    for (Document& document : batch.documents) document.attributes = attributes;
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
  }

  /// Changes the catalog behind its digests.
  void damage(const std::string& sql) const {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(catalog().c_str(), &database), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(database);
  }
};

TEST_F(ExportBankTest, LinesHaveWhatWasGivenInTheOrderOfTheirCommits) {
  {
    const auto writer = open_writer();
    put(*writer, {"b", "a"}, R"({"n":[1,2.5,null],"tag":"x\"y"})");
    put(*writer, {"c"});
    put(*writer, {"b"});  // in place of the first one
    writer->forget(std::vector<std::string>{"c"});
  }
  const auto bank = open();
  const Exported exported = export_all(*bank);
  EXPECT_TRUE(exported.problems.empty());
  ASSERT_EQ(exported.lines.size(), 2U);
  const auto a = bank->find("a");
  EXPECT_EQ(exported.lines[0], R"({"id":"a","title":")" + a->title + R"(","text":")" + a->text +
                                   R"(","n":[1,2.5,null],"tag":"x\"y"})");
  EXPECT_EQ(parse_json(exported.lines[1], "line").at("id"), "b");
}

TEST_F(ExportBankTest, WhatIsDeletedOrReplacedMeanwhileIsLeftOut) {
  const auto writer = open_writer();
  put(*writer, {"a", "b", "c"});
  const auto bank = open();
  writer->forget(std::vector<std::string>{"a"});
  put(*writer, {"b", "d"});
  writer->compact();
  const Exported exported = export_all(*bank);
  EXPECT_TRUE(exported.problems.empty());
  ASSERT_EQ(exported.lines.size(), 1U);
  EXPECT_EQ(parse_json(exported.lines[0], "line").at("id"), "c");
}

TEST_F(ExportBankTest, DamagedRowsAreNamedAndTheOthersExported) {
  {
    const auto writer = open_writer();
    put(*writer, {"a", "b", "c"});
    put(*writer, {"twice"}, R"({"text":"of its own"})");
    put(*writer, {"list"}, "[1]");
    RandomBatch batch = next_batch(*writer, 1, 7);
    batch.documents[0].title = "\xff";
    writer->commit(batch.documents, batch.encoded);
  }
  damage("UPDATE documents SET text = text || '!' WHERE name = 'b'");
  const Exported exported = export_all(*open());
  EXPECT_EQ(exported.lines.size(), 2U);
  ASSERT_EQ(exported.problems.size(), 4U);
  EXPECT_NE(exported.problems[0].find("document 2 is damaged"), std::string::npos);
  EXPECT_NE(exported.problems[1].find("\"twice\" have the key text"), std::string::npos);
  EXPECT_NE(exported.problems[2].find("\"list\" are no object"), std::string::npos);
  EXPECT_NE(exported.problems[3].find("is not UTF-8"), std::string::npos);
}

}  // namespace
}  // namespace msa::memory
