// Rows of a catalog changed at will, each with the digest that belongs to it: what an attacker who
// knows the format would send. An input is a list of changes to the rows of a good bank.

#include <fuzzer/FuzzedDataProvider.h>
#include <sqlite3.h>

#include <algorithm>
#include <fstream>
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

constexpr size_t kChangeBytes = 12;  // of an input, for one change

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

int64_t sum(int64_t number, int64_t more) {
  return static_cast<int64_t>(static_cast<uint64_t>(number) + static_cast<uint64_t>(more));
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
  switch (input.ConsumeIntegralInRange(0, 5)) {
    case 0:
    case 1:
      return sum(before, input.ConsumeIntegralInRange(-4, 4));
    case 2:
      return sum(before, input.ConsumeIntegral<int8_t>());
    case 3:
      return input.ConsumeIntegral<int16_t>();
    case 4:
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
      if (input.ConsumeBool()) change(row.row);
      if (input.ConsumeBool()) row.text = input.ConsumeRandomLengthString(60);
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

/// Writes catalogs: the rows go into a database in memory that has the tables and forgets them
/// again, so that every catalog is laid out as if it were the first.
class CatalogWriter {
 public:
  CatalogWriter() {
    sqlite3_open(":memory:", &database_);
    for (const char* statement : memory::kCatalogSchema) execute(statement);
    facts_ = prepare("INSERT INTO facts VALUES (?, ?, ?)");
    segments_ = prepare("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    documents_ = prepare("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    passages_ = prepare("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  }
  ~CatalogWriter() {
    for (sqlite3_stmt* statement : {facts_, segments_, documents_, passages_}) {
      sqlite3_finalize(statement);
    }
    sqlite3_close(database_);
  }
  CatalogWriter(const CatalogWriter&) = delete;
  CatalogWriter& operator=(const CatalogWriter&) = delete;

  void write(const Rows& rows, const std::filesystem::path& path) {
    execute("BEGIN");
    for (const Fact& f : rows.facts) insert(facts_, f.key, f.value, memory::row_digest(f));
    for (const SegmentRow& s : rows.segments) {
      insert(segments_, s.id, s.file, s.passages, s.chunks, s.tokens, s.bytes, s.digest,
             memory::row_digest(s));
    }
    for (const Document& d : rows.documents) {
      const storage::Digest content = memory::content_digest(d.title, d.text);
      insert(documents_, d.row, d.name, d.title, d.text, d.attributes, d.source, content,
             memory::row_digest(d, content));
    }
    for (const Passage& p : rows.passages) {
      insert(passages_, p.id, p.document, p.start, p.end, p.tokens, p.chunks, p.segment,
             memory::row_digest(p));
    }
    sqlite3_int64 size = 0;
    unsigned char* bytes = sqlite3_serialize(database_, "main", &size, 0);
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes), size);
    sqlite3_free(bytes);
    execute("ROLLBACK");
  }

 private:
  /// Rows that the tables refuse, for an id that comes twice, are left out.
  static void insert(sqlite3_stmt* statement, const auto&... values) {
    int column = 0;
    (bind(statement, ++column, values), ...);
    sqlite3_step(statement);
    sqlite3_reset(statement);
  }
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
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr);
    return statement;
  }
  void execute(const char* sql) { sqlite3_exec(database_, sql, nullptr, nullptr, nullptr); }

  sqlite3* database_ = nullptr;
  sqlite3_stmt* facts_ = nullptr;
  sqlite3_stmt* segments_ = nullptr;
  sqlite3_stmt* documents_ = nullptr;
  sqlite3_stmt* passages_ = nullptr;
};

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  static const ScratchBank bank;
  static const Rows golden = read_golden();
  static CatalogWriter writer;
  Rows rows = golden;
  for (size_t first = 0; first < size; first += kChangeBytes) {
    FuzzedDataProvider input(data + first, std::min(kChangeBytes, size - first));
    change_one(input, rows);
  }
  bank.remove_catalog();
  writer.write(rows, bank.catalog());
  const bool is_good = bank.read();
  expect(size > 0 || is_good, "the bank without a change is refused");
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (max_size < kChangeBytes || chance(random, 4)) return LLVMFuzzerMutate(data, size, max_size);
  std::string change(kChangeBytes, '\0');
  for (char& byte : change) byte = static_cast<char>(random() >> 8);
  // Many changes break many rules, of which a reader sees the first: mostly one by itself.
  const bool is_more = chance(random, 3) && size + kChangeBytes <= max_size;
  return give(is_more ? text_of(data, size) + change : change, data, max_size);
}
