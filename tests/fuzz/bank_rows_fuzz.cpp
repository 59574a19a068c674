// Rows of a catalog changed at will, each with the digest that belongs to it: what an attacker who
// knows the format would send. An input is a list of changes to the rows of a good bank.

#include <fuzzer/FuzzedDataProvider.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "msa/memory/catalog_rows.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/mutation.h"
#include "tests/fuzz/scratch_bank.h"

namespace msa::fuzz {
namespace {

using memory::Document;
using memory::Fact;
using memory::Passage;
using memory::SegmentRow;

struct Rows {
  std::vector<Fact> facts;
  std::vector<SegmentRow> segments;
  std::vector<Document> documents;
  std::vector<Passage> passages;
};

Rows read_golden() {
  Rows rows;
  const storage::Database database(ScratchBank::golden() / "catalog.db",
                                   storage::Database::Mode::kRead);
  const auto read_all = [&](const char* select, auto read, auto& into) {
    auto statement = database.prepare(select);
    while (statement.next()) into.push_back(read(statement).row);
  };
  read_all(memory::kSelectFact, memory::read_fact, rows.facts);
  read_all(memory::kSelectSegment, memory::read_segment, rows.segments);
  read_all(memory::kSelectDocument, memory::read_document, rows.documents);
  read_all(memory::kSelectPassage, memory::read_passage, rows.passages);
  return rows;
}

int64_t draw_number(FuzzedDataProvider& input, int64_t before) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  constexpr int64_t kEnds[] = {0,
                               -1,
                               1,
                               kLargest,
                               kLargest - 1,
                               -kLargest,
                               kLargest / 2,
                               int64_t{1} << 40,
                               int64_t{1} << 31};
  switch (input.ConsumeIntegralInRange(0, 3)) {
    case 0:
      return before + input.ConsumeIntegral<int8_t>();
    case 1:
      return input.ConsumeIntegral<int16_t>();
    case 2:
      return input.PickValueInArray(kEnds);
    default:
      return input.ConsumeIntegral<int64_t>();
  }
}

void change_one(FuzzedDataProvider& input, Rows& rows) {
  const auto place = [&](const auto& of) {
    return input.ConsumeIntegralInRange<size_t>(0, of.size() - 1);
  };
  const auto change = [&](auto&... numbers) {
    const auto column = input.ConsumeIntegralInRange<size_t>(0, sizeof...(numbers) - 1);
    size_t i = 0;
    ((i++ == column ? void(numbers = draw_number(input, numbers)) : void()), ...);
  };
  switch (input.ConsumeIntegralInRange(0, 7)) {
    case 0: {
      if (rows.facts.empty()) return;
      Fact& fact = rows.facts[place(rows.facts)];
      fact.value = input.ConsumeBool() ? std::to_string(draw_number(input, 1))
                                       : input.ConsumeRandomLengthString(40);
      return;
    }
    case 1:
    case 2: {
      if (rows.segments.empty()) return;
      SegmentRow& row = rows.segments[place(rows.segments)];
      change(row.id, row.passages, row.chunks, row.tokens, row.bytes);
      if (input.ConsumeBool()) row.file = memory::segment_file_name(row.id);
      return;
    }
    case 3:
    case 4: {
      if (rows.passages.empty()) return;
      Passage& row = rows.passages[place(rows.passages)];
      change(row.id, row.document, row.start, row.end, row.tokens, row.chunks, row.segment);
      return;
    }
    case 5: {
      if (rows.documents.empty()) return;
      Document& row = rows.documents[place(rows.documents)];
      change(row.row);
      row.text = input.ConsumeRandomLengthString(60);
      return;
    }
    case 6:
      if (rows.passages.empty()) return;
      if (input.ConsumeBool()) {
        rows.passages.erase(rows.passages.begin() + static_cast<ptrdiff_t>(place(rows.passages)));
      } else {
        rows.passages.push_back(rows.passages[place(rows.passages)]);
        int64_t& id = rows.passages.back().id;
        id = std::min(id, std::numeric_limits<int64_t>::max() - 256) + 1 +
             input.ConsumeIntegral<uint8_t>();
      }
      return;
    default:
      if (rows.segments.empty() || rows.documents.empty()) return;
      if (input.ConsumeBool()) {
        rows.segments.erase(rows.segments.begin() + static_cast<ptrdiff_t>(place(rows.segments)));
      } else {
        rows.documents.erase(rows.documents.begin() +
                             static_cast<ptrdiff_t>(place(rows.documents)));
      }
  }
}

/// Writes catalogs with as little of a database's care as SQLite allows.
class CatalogWriter {
 public:
  explicit CatalogWriter(const std::filesystem::path& path) {
    sqlite3_open(path.c_str(), &database_);
    execute("PRAGMA journal_mode = OFF");
    execute("PRAGMA synchronous = OFF");
    execute("BEGIN");
    for (const char* statement : memory::kCatalogSchema) execute(statement);
  }
  ~CatalogWriter() {
    execute("COMMIT");
    sqlite3_close(database_);
  }
  CatalogWriter(const CatalogWriter&) = delete;
  CatalogWriter& operator=(const CatalogWriter&) = delete;

  /// Rows that the tables refuse, for an id that comes twice, are left out.
  void insert(const char* sql, const auto&... values) {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr);
    int column = 0;
    (bind(statement, ++column, values), ...);
    sqlite3_step(statement);
    sqlite3_finalize(statement);
  }

 private:
  static void bind(sqlite3_stmt* statement, int column, int64_t value) {
    sqlite3_bind_int64(statement, column, value);
  }
  static void bind(sqlite3_stmt* statement, int column, const std::string& text) {
    sqlite3_bind_text(statement, column, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }
  static void bind(sqlite3_stmt* statement, int column, const storage::Digest& digest) {
    sqlite3_bind_blob(statement, column, digest.data(), static_cast<int>(digest.size()),
                      SQLITE_TRANSIENT);
  }
  void execute(const char* sql) { sqlite3_exec(database_, sql, nullptr, nullptr, nullptr); }

  sqlite3* database_ = nullptr;
};

void write_catalog(const std::filesystem::path& path, const Rows& rows) {
  CatalogWriter writer(path);
  for (const Fact& f : rows.facts) {
    writer.insert("INSERT INTO facts VALUES (?, ?, ?)", f.key, f.value, memory::row_digest(f));
  }
  for (const SegmentRow& s : rows.segments) {
    writer.insert("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", s.id, s.file, s.passages,
                  s.chunks, s.tokens, s.bytes, s.digest, memory::row_digest(s));
  }
  for (const Document& d : rows.documents) {
    const storage::Digest content = memory::content_digest(d.title, d.text);
    writer.insert("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)", d.row, d.name, d.title,
                  d.text, d.attributes, d.source, content, memory::row_digest(d, content));
  }
  for (const Passage& p : rows.passages) {
    writer.insert("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", p.id, p.document, p.start,
                  p.end, p.tokens, p.chunks, p.segment, memory::row_digest(p));
  }
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  static const ScratchBank bank;
  static const Rows golden = read_golden();
  Rows rows = golden;
  FuzzedDataProvider input(data, size);
  while (input.remaining_bytes() > 0) change_one(input, rows);
  bank.remove_catalog();
  write_catalog(bank.catalog(), rows);
  const bool is_good = bank.read();
  expect(size > 0 || is_good, "the bank without a change is refused");
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  constexpr size_t kOneChange = 12;  // bytes that one takes at most, in most cases
  Random random(seed);
  // Many changes break many rules, of which a reader sees the first: also one by itself.
  if (max_size < kOneChange || !chance(random, 2)) return LLVMFuzzerMutate(data, size, max_size);
  std::string change(1 + random() % kOneChange, '\0');
  for (char& byte : change) byte = static_cast<char>(random() >> 8);
  return give(change, data, max_size);
}
