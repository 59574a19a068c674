// Any bytes as the catalog of a bank: SQLite and our rows on it refuse them or read them.

#include <sqlite3.h>

#include <memory>

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/scratch_bank.h"

namespace msa::fuzz {
namespace {

const ScratchBank& bank() {
  static const ScratchBank bank;
  return bank;
}

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
};
struct FreeSqlite {
  void operator()(void* memory) const { sqlite3_free(memory); }
};

template <size_t Size>
std::string one_of(const char* const (&texts)[Size], Random& random) {
  return texts[random() % Size];
}

/// An expression that takes no time or memory until a reader evaluates it.
std::string draw_expression(Random& random) {
  static constexpr const char* kExpressions[] = {"zeroblob(900000000)",
                                                 "hex(zeroblob(400000000))",
                                                 "printf('%900000000d', 1)",
                                                 "9223372036854775807",
                                                 "-1",
                                                 "NULL",
                                                 "1e308",
                                                 "x'00'",
                                                 "'text'"};
  return one_of(kExpressions, random);
}

/// A statement that leaves a catalog which is whole to SQLite and not what we made.
std::string draw_statement(Random& random) {
  static constexpr const char* kTables[] = {"facts", "segments", "documents", "passages"};
  static constexpr const char* kColumns[] = {"key",    "value", "digest",   "id",    "file",
                                             "chunks", "bytes", "document", "start", "segment"};
  // Rows without end, or the search for one that is not there.
  static constexpr const char* kEndless =
      "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
      "SELECT x AS key, x AS value, x AS digest, x AS id, x AS file, x AS passages, "
      "x AS chunks, x AS tokens, x AS bytes, x AS table_digest, x AS document, "
      "x AS start, x AS end, x AS segment, x AS name, x AS title, x AS text, "
      "x AS attributes, x AS source, x AS content FROM c";
  const std::string table = one_of(kTables, random);
  const std::string expression = draw_expression(random);
  switch (random() % 8) {
    case 0:
      return "CREATE TABLE other" + std::to_string(random() % 4) + "(a CHECK(length(" + expression +
             ") > 0)); INSERT INTO other" + std::to_string(random() % 4) + " VALUES (1)";
    case 1:
      return "ALTER TABLE " + table + " ADD COLUMN g BLOB AS (" + expression + ")";
    case 2:
      return "DROP TABLE " + table;
    case 3:
      return "DROP TABLE " + table + "; CREATE VIEW " + table + " AS " + kEndless +
             (chance(random, 2) ? " WHERE x < 0" : "");
    case 4:
      return "UPDATE " + table + " SET " + one_of(kColumns, random) + " = " + expression;
    case 5:
      return "UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', 'CHECK(length(" + expression +
             ") > 0)') WHERE name = '" + table + "'";
    case 6:
      return "DELETE FROM " + table + " WHERE rowid % 2 = " + std::to_string(random() % 2);
    default:
      return "CREATE INDEX i" + std::to_string(random() % 4) + " ON " + table + "(" +
             one_of(kColumns, random) + ")";
  }
}

/// The database after some statements; as it is where SQLite does not read it.
std::string with_statements(std::string bytes, Random& random) {
  constexpr size_t kVersions = 18;  // of the format, for writers and readers: 2 is with a log
  if (bytes.size() < 100) return bytes;
  const std::string versions = bytes.substr(kVersions, 2);
  bytes.replace(kVersions, 2, "\1\1");  // a database in memory has no log
  sqlite3* opened = nullptr;
  sqlite3_open(":memory:", &opened);
  const std::unique_ptr<sqlite3, CloseDatabase> database(opened);
  auto* room = static_cast<unsigned char*>(sqlite3_malloc64(bytes.size()));
  std::memcpy(room, bytes.data(), bytes.size());
  const auto size = static_cast<sqlite3_int64>(bytes.size());
  sqlite3_deserialize(opened, "main", room, size, size,
                      SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
  sqlite3_limit(opened, SQLITE_LIMIT_LENGTH, 1 << 20);
  sqlite3_progress_handler(
      opened, 100000, [](void*) { return 1; }, nullptr);
  const auto run = [&](const std::string& sql) {
    sqlite3_exec(opened, sql.c_str(), nullptr, nullptr, nullptr);
  };
  run("PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON");
  for (auto count = 1 + random() % 3; count > 0; --count) run(draw_statement(random));
  sqlite3_int64 written = 0;
  const std::unique_ptr<unsigned char, FreeSqlite> after(
      sqlite3_serialize(opened, "main", &written, 0));
  if (after) bytes.assign(reinterpret_cast<const char*>(after.get()), static_cast<size_t>(written));
  return bytes.size() < 100 ? bytes : bytes.replace(kVersions, 2, versions);
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  bank().remove_catalog();
  std::ofstream(bank().catalog(), std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  bank().read();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (!chance(random, 4)) return LLVMFuzzerMutate(data, size, max_size);
  const std::string bytes = with_statements(text_of(data, size), random);
  if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  return give(bytes, data, max_size);
}
