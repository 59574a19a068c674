// Each thing that a bank says of itself, changed alone and with all digests right again: refused,
// and the message names it.

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/catalog_rows.h"
#include "msa/storage/database.h"
#include "msa/storage/digest.h"

namespace msa::memory {
namespace {

using storage::Database;
using storage::Statement;

class SingleEdits : public BankTest {
 protected:
  SingleEdits() {
    commit(*open_writer(), 4, 1);
    const auto writer = open_writer();
    commit(*writer, 3, 2);
    const std::vector<std::string> names{open()->list(1, 1).at(0).name};
    writer->forget(names);  // format 3
  }

  Database database() const { return Database(catalog(), Database::Mode::kWrite); }

  void set_fact(const std::string& key, const std::string& value) const {
    database()
        .prepare("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)")
        .bind(1, key)
        .bind(2, value)
        .bind(3, row_digest(Fact{key, value}))
        .run();
  }

  /// UPDATE `table` SET `what` in its last row, which is the first one then if its id is 0.
  void set_row(const std::string& table, const std::string& what) const {
    const Database all = database();
    all.execute("PRAGMA foreign_keys = OFF");
    const std::string last = " WHERE id = (SELECT max(id) FROM " + table + ")";
    all.execute("UPDATE " + table + " SET " + what + last);
    const std::string changed =
        what.starts_with("id = 0") ? " WHERE id = (SELECT min(id) FROM " + table + ")" : last;
    storage::Digest digest{};
    if (table == "segments") {
      auto rows = all.prepare(kSelectSegment + changed);
      ASSERT_TRUE(rows.next());
      digest = row_digest(read_segment(rows).row);
    } else if (table == "passages") {
      auto rows = all.prepare(kSelectPassage + changed);
      ASSERT_TRUE(rows.next());
      digest = row_digest(read_passage(rows).row);
    }
    all.prepare("UPDATE " + table + " SET digest = ?" + changed).bind(1, digest).run();
  }

  /// Changes bytes of the last segment, of one block, and all digests over them.
  void set_segment(const std::function<void(std::string&)>& change) const {
    const auto rows =
        Catalog::open(real_file_system(), folder(), Database::Mode::kRead)->segments();
    SegmentRow row = rows.back();
    const auto path = folder() / "segments" / row.file;
    std::ifstream in(path, std::ios::binary);
    std::string bytes(std::istreambuf_iterator<char>(in), {});
    bytes.resize(bytes.size() - sizeof(storage::Digest));
    change(bytes);
    const storage::Digest table = storage::digest_of(std::as_bytes(std::span(bytes)));
    std::ofstream out(path, std::ios::binary);
    out << bytes;
    out.write(reinterpret_cast<const char*>(table.data()), sizeof table);
    row.digest = storage::digest_of(table);
    database()
        .prepare("UPDATE segments SET table_digest = ?, digest = ? WHERE id = ?")
        .bind(1, row.digest)
        .bind(2, row_digest(row))
        .bind(3, row.id)
        .run();
  }

  /// Of one length, so that no offset changes.
  void set_header(const std::string& from, const std::string& to) const {
    ASSERT_EQ(from.size(), to.size());
    set_segment([&](std::string& bytes) {
      const size_t place = bytes.find(from);
      ASSERT_NE(place, std::string::npos) << from;
      bytes.replace(place, from.size(), to);
    });
  }

  /// Adds one to the last number of a tensor of int64.
  void set_last_number(const std::string& tensor) const {
    set_segment([&](std::string& bytes) {
      uint64_t header = 0;
      std::memcpy(&header, bytes.data(), sizeof header);
      const std::string key = "\"data_offsets\":[";
      const size_t offsets = bytes.find(key, bytes.find("\"" + tensor + "\"")) + key.size();
      const size_t end = std::stoull(bytes.substr(bytes.find(',', offsets) + 1));
      bytes[sizeof header + header + end - sizeof(int64_t)] += 1;
    });
  }

  /// Adds to the number at a place of a tensor of int64.
  void set_number(const std::string& tensor, size_t place, char more) const {
    set_segment([&](std::string& bytes) {
      uint64_t header = 0;
      std::memcpy(&header, bytes.data(), sizeof header);
      const std::string key = "\"data_offsets\":[";
      const size_t offsets = bytes.find(key, bytes.find("\"" + tensor + "\"")) + key.size();
      const size_t first = std::stoull(bytes.substr(offsets));
      bytes[sizeof header + header + first + place * sizeof(int64_t)] += more;
    });
  }

  /// What a user of the bank with these facts is told: nothing if it is used.
  std::string refusal() const {
    try {
      const auto bank = open();
      expect_equal(bank->facts(), facts(), "the bank");
      (void)bank->source();
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }

  std::string refusal_to_write() const {
    try {
      (void)open_writer();
    } catch (const Error& error) {
      return error.what();
    }
    return {};
  }
};

TEST_F(SingleEdits, AreRefusedWithTheFieldNamed) {
  struct Edit {
    std::string named;  // what the message has to say
    std::function<void()> make;
    bool is_found_by_writer = false;
  };
  const auto fact = [&](const std::string& key, const std::string& value) {
    return Edit{
        .named = key, .make = [=, this] { set_fact(key, value); }, .is_found_by_writer = true};
  };
  const auto row = [&](const std::string& table, const std::string& what,
                       const std::string& named) {
    return Edit{.named = named, .make = [=, this] { set_row(table, what); }};
  };
  const auto header = [&](const std::string& from, const std::string& to,
                          const std::string& named) {
    return Edit{.named = named, .make = [=, this] { set_header(from, to); }};
  };
  const std::vector<Edit> edits{
      fact("model_fingerprint", "n"),
      fact("tokenizer_fingerprint", "n"),
      fact("router_layers", "1"),
      fact("router_layers", "3"),
      fact("kv_heads", "1"),
      fact("kv_heads", "4"),
      fact("head_dim", "4"),
      fact("head_dim", "16"),
      fact("chunk_tokens", "5"),
      fact("max_passage_tokens", "99"),
      fact("key_type", "f32"),
      fact("key_type", "int8"),
      fact("content_type", "f32"),
      fact("content_type", "int8"),
      fact("content_type", "int4"),
      fact("format", "4"),
      fact("format", "0"),
      fact("documents", "5"),
      fact("passages", "5"),
      fact("next_passage_id", "2"),
      fact("next_segment", "2"),
      fact("next_document", "3"),
      fact("generation", "0"),
      row("segments", "passages = passages + 1", "passage_id"),
      row("segments", "chunks = chunks + 1", "routing_key"),
      row("segments", "bytes = bytes - 8", "bytes"),
      row("segments", "table_digest = zeroblob(16)", "digest"),
      row("segments", "file = '000009.msa'", "segment"),
      row("passages", "chunks = chunks + 1", "chunks"),
      row("passages", "segment = 1", "segment"),
      row("passages", "end = start - 1", "passage"),
      row("passages", "document = document - 1", "documents"),
      row("passages", "segment = 7", "segment"),
      row("passages", "segment = 0", "segment"),
      fact("next_passage_id", "9x"),
      fact("next_segment", ""),
      header(R"("model_fingerprint":"m")", R"("model_fingerprint":"n")", "model_fingerprint"),
      header(R"("chunk_tokens":"4")", R"("chunk_tokens":"5")", "chunk_tokens"),
      header("msa-segment-1", "msa-segment-2", "format"),
      header(R"("dtype":"BF16")", R"("dtype":"F16" )", "routing_key"),
      {.named = "is not in it", .make = [this] { set_last_number("passage_id"); }},
      {.named = "out of order", .make = [this] { set_last_number("first_chunk"); }},
      {.named = "out of order", .make = [this] { set_number("first_chunk", 0, 1); }},
      {.named = "out of order", .make = [this] { set_number("first_chunk", 1, 100); }},
      {.named = "is not in it", .make = [this] { set_number("first_chunk", 1, 1); }},
      header(R"("model_fingerprint":"m")", R"("model_fingerprinT":"m")",
             "model_fingerprint is missing"),
  };
  ASSERT_GE(edits.size(), 30U);
  ASSERT_EQ(refusal(), "");
  const auto whole = folder().string() + ".whole";
  std::filesystem::remove_all(whole);
  std::filesystem::copy(folder(), whole, std::filesystem::copy_options::recursive);
  for (size_t n = 0; n < edits.size(); ++n) {
    SCOPED_TRACE("edit " + std::to_string(n) + ": " + edits[n].named);
    edits[n].make();
    const std::string said = refusal();
    EXPECT_NE(said.find(edits[n].named), std::string::npos) << said;
    if (edits[n].is_found_by_writer) {
      const std::string said_to_writer = refusal_to_write();
      EXPECT_NE(said_to_writer.find(edits[n].named), std::string::npos) << said_to_writer;
    }
    std::filesystem::remove_all(folder());
    std::filesystem::copy(whole, folder(), std::filesystem::copy_options::recursive);
  }
  std::filesystem::remove_all(whole);
  EXPECT_EQ(refusal(), "");
  EXPECT_TRUE(verify().empty());
}

TEST_F(SingleEdits, ANumberOutOfItsRangeIsADamagedRowThoughItsDigestIsRight) {
  const std::string beyond = std::to_string(kMaxCatalogNumber + 1);
  const auto whole = folder().string() + ".whole";
  std::filesystem::remove_all(whole);
  std::filesystem::copy(folder(), whole, std::filesystem::copy_options::recursive);
  for (const auto& [table, what] : std::vector<std::pair<std::string, std::string>>{
           {"segments", "passages = 0"},
           {"segments", "passages = " + beyond},
           {"segments", "chunks = -1"},
           {"segments", "chunks = " + beyond},
           {"segments", "tokens = -1"},
           {"segments", "bytes = 0"},
           {"segments", "bytes = " + beyond},
           {"segments", "table_digest = x'00'"},
           {"segments", "id = " + beyond + ", file = '" + beyond + ".msa'"},
           {"passages", "id = " + beyond},
           {"passages", "id = 0"},
           {"passages", "start = -1"},
           {"passages", "end = " + beyond},
           {"passages", "tokens = -1"},
           {"passages", "chunks = -1"},
           {"passages", "chunks = " + beyond}}) {
    SCOPED_TRACE(table + ": " + what);
    set_row(table, what);
    const std::string said = refusal();
    const std::string row = "the row of " + table.substr(0, table.size() - 1);
    EXPECT_NE(said.find(row), std::string::npos) << said;
    EXPECT_NE(said.find("is damaged"), std::string::npos) << said;
    const auto problems = verify();
    EXPECT_TRUE(std::ranges::any_of(problems, [&](const BankProblem& problem) {
      return problem.what.find(row) != std::string::npos;
    }));
    std::filesystem::remove_all(folder());
    std::filesystem::copy(whole, folder(), std::filesystem::copy_options::recursive);
  }
  std::filesystem::remove_all(whole);
  EXPECT_EQ(refusal(), "");
}

TEST_F(SingleEdits, NumbersInUseAreFoundByVerificationToo) {
  for (const auto& [key, what] : {std::pair{"next_passage_id", "the next passage id is in use"},
                                  {"next_segment", "the next segment is in use"},
                                  {"next_document", "the next document is in use"}}) {
    const auto whole = folder().string() + ".whole";
    std::filesystem::remove_all(whole);
    std::filesystem::copy(folder(), whole, std::filesystem::copy_options::recursive);
    const std::string wanted = what;
    set_fact(key, "1");
    const auto problems = verify();
    EXPECT_TRUE(std::ranges::any_of(problems, [&](const BankProblem& problem) {
      return problem.what == wanted;
    })) << what;
    std::filesystem::remove_all(folder());
    std::filesystem::rename(whole, folder());
  }
}

TEST_F(SingleEdits, VerificationFindsASegmentBetweenThePassagesOfAnotherOne) {
  set_row("passages", "segment = 1");
  const auto problems = verify();
  EXPECT_TRUE(std::ranges::any_of(problems, [](const BankProblem& problem) {
    return problem.what == "passages of a segment stand between those of another one";
  }));
}

TEST_F(SingleEdits, VerificationFindsAPassageThatStandsApartFromThoseOfItsDocument) {
  set_row("passages", "document = (SELECT min(id) FROM documents), start = 0, end = 1");
  const auto problems = verify();
  EXPECT_TRUE(std::ranges::any_of(problems, [](const BankProblem& problem) {
    return problem.what == "passages of a document stand between those of another one";
  }));
}

}  // namespace
}  // namespace msa::memory
