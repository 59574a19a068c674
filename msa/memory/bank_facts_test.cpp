#include "msa/memory/bank_facts.h"

#include <functional>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank_fixture.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

using kernels::ContentType;
using kernels::NumberType;

TEST_F(BankTest, RefusesEveryOtherFactAndNamesIt) {
  write(2, 1);
  const std::vector<std::pair<std::string, std::function<void(BankFacts&)>>> changes{
      {"model_fingerprint", [](BankFacts& f) { f.model_fingerprint = "x"; }},
      {"tokenizer_fingerprint", [](BankFacts& f) { f.tokenizer_fingerprint = "x"; }},
      {"router_layers", [](BankFacts& f) { ++f.shape.num_layers; }},
      {"kv_heads", [](BankFacts& f) { ++f.shape.num_kv_heads; }},
      {"head_dim", [](BankFacts& f) { ++f.shape.head_dim; }},
      {"chunk_tokens", [](BankFacts& f) { ++f.shape.chunk_tokens; }},
      {"max_passage_tokens", [](BankFacts& f) { ++f.max_passage_tokens; }},
      {"key_type", [](BankFacts& f) { f.key_type = NumberType::kInt8; }},
      {"content_type", [](BankFacts& f) { f.content_type = ContentType::kInt8; }}};
  for (const auto& [name, change] : changes) {
    BankFacts other = facts();
    change(other);
    try {
      BankWriter::open(real_file_system(), folder(), other);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kMismatch);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
  BankFacts renamed = facts();
  renamed.model_name = "another name for the same";
  EXPECT_NO_THROW(BankWriter::open(real_file_system(), folder(), renamed));
}

/// Writes a fact with the digest that belongs to it: what another program, or an attacker, may do.
void set_fact(const std::filesystem::path& catalog, const std::string& key,
              const std::string& value) {
  const storage::Database database(catalog, storage::Database::Mode::kWrite);
  database.prepare("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)")
      .bind(1, key)
      .bind(2, value)
      .bind(3, row_digest(Fact{key, value}))
      .run();
}

TEST_F(BankTest, ANewerFormatIsRefusedWithAWordOnWhatToDo) {
  write(1, 1);
  set_fact(catalog(), "format", "4");
  try {
    open();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
    EXPECT_NE(std::string(error.what()).find("newer"), std::string::npos) << error.what();
  }
}

TEST_F(BankTest, FactsThatNoBankCanHaveAreRefused) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{
           {"kv_heads", "0"},
           {"head_dim", "-1"},
           {"head_dim", "999999999999"},
           {"router_layers", "99999999999999999999999"},
           {"chunk_tokens", ""},
           {"chunk_tokens", "4 "},
           {"key_type", "f99"},
           {"content_type", "int8"},  // of format 1
           {"content_type", "int2"},
           {"format", "3"},  // has no facts of that format
           {"format", "x"}}) {
    std::filesystem::remove_all(folder());
    write(1, 1);
    set_fact(catalog(), key, value);
    EXPECT_THROW(open(), Error) << key << " = " << value;
    EXPECT_EQ(verify().size(), 1U) << key << " = " << value;
  }
  std::filesystem::remove_all(folder());
  write(1, 1);
  set_fact(catalog(), "generation", "0");
  EXPECT_THROW(open(), Error);
  EXPECT_EQ(verify().size(), 1U);
  std::filesystem::remove_all(folder());
  write(1, 1);
  set_fact(catalog(), "next_passage_id", "99999999999999999999999");
  EXPECT_THROW(open_writer(), Error);
}

TEST_F(BankTest, NumbersWhoseSumWouldOverflowAreDamage) {
  write(1, 1);
  set_fact(catalog(), "next_passage_id", "9223372036854775807");
  EXPECT_THROW(open_writer(), Error);
  EXPECT_FALSE(verify().empty());
  for (const char* column : {"chunks", "tokens", "end", "id"}) {
    std::filesystem::remove_all(folder());
    write(1, 1);
    const storage::Database database(catalog(), storage::Database::Mode::kWrite);
    database.execute(std::string("UPDATE passages SET ") + column +
                     " = 9223372036854775807 WHERE id = 1");
    auto row = database.prepare(std::string(kSelectPassage) + "ORDER BY id = 1 OR id > 9 DESC");
    ASSERT_TRUE(row.next());
    const storage::Digest digest = row_digest(read_passage(row).row);
    row.reset();
    database.prepare("UPDATE passages SET digest = ? WHERE id = 1 OR id > 9").bind(1, digest).run();
    EXPECT_THROW(open(), Error) << column;
    EXPECT_FALSE(verify().empty()) << column;
  }
}

TEST_F(BankTest, ContentOfAnotherTypeThanTheFactsSayIsRefused) {
  BankFacts own = facts();
  own.content_type = ContentType::kInt8;
  commit(*BankWriter::open(real_file_system(), folder(), own), 2, 1);
  for (const char* type : {"int4", "bf16"}) {
    set_fact(catalog(), "content_type", type);
    EXPECT_THROW(open()->source(), Error) << type;
    EXPECT_EQ(verify().size(), 1U) << type;
  }
}

TEST_F(BankTest, OnlyQuantisedContentNeedsFormatTwo) {
  for (const auto& [type, format] :
       {std::pair(ContentType::kFloat32, "1"), std::pair(ContentType::kBFloat16, "1"),
        std::pair(ContentType::kInt8, "2"), std::pair(ContentType::kInt4, "2")}) {
    BankFacts own = facts();
    own.content_type = type;
    EXPECT_EQ(facts_to_text(own).at("format"), format);
  }
}

}  // namespace
}  // namespace msa::memory
