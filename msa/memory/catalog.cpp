#include "msa/memory/catalog.h"

#include <charconv>
#include <map>
#include <span>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

using storage::Database;
using storage::Statement;
using storage::Transaction;

constexpr const char* kNextPassageId = "next_passage_id";
constexpr const char* kNextSegment = "next_segment";

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// A statement that is kept for later calls, for the length of this one.
class Kept {
 public:
  Kept(std::optional<Statement>& statement, const Database& database, const std::string& sql)
      : statement_(statement ? *statement : statement.emplace(database.prepare(sql))) {}
  ~Kept() { statement_.reset(); }  // a statement amid its rows holds what it reads
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;

  Statement& operator*() const { return statement_; }
  Statement* operator->() const { return &statement_; }

 private:
  Statement& statement_;
};

std::string without_space(std::string text) {
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
  return text;
}

}  // namespace

Catalog::Catalog(const std::filesystem::path& path, Database::Mode mode)
    : path_(path), database_(path, mode) {}

void Catalog::create(FileSystem& files, const std::filesystem::path& folder,
                     const BankFacts& facts) {
  for (const std::string& name : files.list(folder)) {
    if (name.starts_with(kNewFile)) files.remove(folder / name);
  }
  files.create(folder / kNewFile);  // SQLite keeps the mode of a file that exists
  {
    const Database database(folder / kNewFile, Database::Mode::kCreate);
    Transaction transaction(database);
    for (const char* statement : kCatalogSchema) database.execute(statement);
    auto insert = database.prepare("INSERT INTO facts VALUES (?, ?, ?)");
    auto all = facts_to_text(facts);
    all[kNextPassageId] = "1";
    all[kNextSegment] = "1";
    for (const auto& [key, value] : all) {
      insert.bind(1, key).bind(2, value).bind(3, bytes_of(row_digest(Fact{key, value}))).run();
    }
    transaction.commit();
    // Only the database file is renamed.
    database.checkpoint();
  }
  files.rename(folder / kNewFile, folder / kFile);
  files.sync_directory(folder);
}

std::unique_ptr<Catalog> Catalog::open(const std::filesystem::path& folder, Database::Mode mode) {
  return std::unique_ptr<Catalog>(new Catalog(folder / kFile, mode));
}

template <typename Row>
Row Catalog::expect_good(Statement& statement, Checked<Row> (*read)(const Statement&),
                         const char* kind) const {
  Checked<Row> checked = read(statement);
  if (!checked.is_good) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": the row of ", kind, " ",
                statement.text(0), " is damaged");
  }
  return std::move(checked.row);
}

BankFacts Catalog::facts() const {
  const std::lock_guard lock(mutex_);
  // Nothing is read from what calls itself a table and is not: a view can run for ever.
  if (!has_our_facts()) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": has no table of facts like a bank's");
  }
  std::map<std::string, std::string> all;
  auto rows = database_.prepare(kSelectFact);
  while (rows.next()) {
    Fact fact = expect_good(rows, read_fact, "the fact");
    all[std::move(fact.key)] = std::move(fact.value);
  }
  BankFacts facts = facts_from(all, path_.string());
  if (!has_our_tables()) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": its tables are not those of a bank");
  }
  return facts;
}

bool Catalog::has_our_facts() const {
  auto rows = database_.prepare("SELECT sql FROM sqlite_schema WHERE name = 'facts'");
  return rows.next() && without_space(rows.text(0)) == without_space(kCatalogSchema[0]);
}

bool Catalog::has_our_tables() const {
  auto rows =
      database_.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid");
  for (const char* statement : kCatalogSchema) {
    if (!rows.next() || without_space(rows.text(0)) != without_space(statement)) return false;
  }
  return !rows.next();
}

int64_t Catalog::number(const char* fact, int64_t otherwise) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectFact) + "WHERE key = ?");
  rows.bind(1, fact);
  if (!rows.next()) return otherwise;
  const std::string text = expect_good(rows, read_fact, "the fact").value;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": the fact \"", fact, "\" is no number");
  }
  return value;
}

void Catalog::set(const char* fact, int64_t value) {
  const Fact row{fact, std::to_string(value)};
  database_.prepare("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)")
      .bind(1, row.key)
      .bind(2, row.value)
      .bind(3, bytes_of(row_digest(row)))
      .run();
}

int64_t Catalog::next_passage_id() const { return number(kNextPassageId, 1); }
int64_t Catalog::next_segment() const { return number(kNextSegment, 1); }

void Catalog::reserve_segments_below(int64_t next) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_);
  set(kNextSegment, next);
  transaction.commit();
}

void Catalog::add(const SegmentRow& segment, std::vector<Document>& documents) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_);
  const std::string_view table(reinterpret_cast<const char*>(segment.digest.data()),
                               segment.digest.size());
  database_.prepare("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(1, segment.id)
      .bind(2, segment.file)
      .bind(3, segment.passages)
      .bind(4, segment.chunks)
      .bind(5, segment.tokens)
      .bind(6, segment.bytes)
      .bind(7, bytes_of(table))
      .bind(8, bytes_of(row_digest(segment)))
      .run();
  auto last = database_.prepare("SELECT coalesce(max(id), 0) FROM documents");
  last.next();
  int64_t row = last.integer(0);
  last.run();
  auto add_document = database_.prepare("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  auto add_passage = database_.prepare("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  int64_t next_id = next_passage_id();
  for (Document& document : documents) {
    document.row = ++row;
    const std::string content = content_digest(document.title, document.text);
    add_document.bind(1, document.row)
        .bind(2, document.name)
        .bind(3, document.title)
        .bind(4, document.text)
        .bind(5, document.attributes)
        .bind(6, document.source)
        .bind(7, bytes_of(content))
        .bind(8, bytes_of(row_digest(document, content)))
        .run();
    for (Passage& passage : document.passages) {
      passage.document = document.row;
      passage.segment = segment.id;
      MSA_CHECK(passage.id >= next_id, "passage id ", passage.id, " is not above the last one");
      next_id = passage.id + 1;
      add_passage.bind(1, passage.id)
          .bind(2, passage.document)
          .bind(3, passage.start)
          .bind(4, passage.end)
          .bind(5, passage.tokens)
          .bind(6, passage.chunks)
          .bind(7, passage.segment)
          .bind(8, bytes_of(row_digest(passage)))
          .run();
    }
  }
  set(kNextPassageId, next_id);
  set(kNextSegment, segment.id + 1);
  transaction.commit();
}

std::vector<SegmentRow> Catalog::segments() const {
  const std::lock_guard lock(mutex_);
  std::vector<SegmentRow> segments;
  auto rows = database_.prepare(std::string(kSelectSegment) + "ORDER BY id");
  while (rows.next()) segments.push_back(expect_good(rows, read_segment, "segment"));
  return segments;
}

std::vector<Passage> Catalog::passages() const {
  const std::lock_guard lock(mutex_);
  std::vector<Passage> passages;
  auto rows = database_.prepare(std::string(kSelectPassage) + "ORDER BY id");
  while (rows.next()) passages.push_back(expect_good(rows, read_passage, "passage"));
  return passages;
}

Document Catalog::with_passages(Statement& statement) const {
  Document document = expect_good(statement, read_document, "document");
  const Kept rows(passages_of_, database_,
                  std::string(kSelectPassage) + "WHERE document = ? ORDER BY id");
  rows->bind(1, document.row);
  while (rows->next()) {
    document.passages.push_back(expect_good(*rows, read_passage, "passage"));
    if (document.passages.back().end > static_cast<int64_t>(document.text.size())) {
      throw Error(ErrorCode::kCorruption, path_.string(), ": passage ", rows->text(0),
                  " is not within its document");
    }
  }
  return document;
}

std::optional<Document> Catalog::document(Statement& statement) const {
  if (!statement.next()) return std::nullopt;
  return with_passages(statement);
}

std::optional<Document> Catalog::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectDocument) + "WHERE name = ?");
  rows.bind(1, name);
  return document(rows);
}

std::optional<Document> Catalog::find(int64_t row) const {
  const std::lock_guard lock(mutex_);
  const Kept rows(find_by_row_, database_, std::string(kSelectDocument) + "WHERE id = ?");
  rows->bind(1, row);
  return document(*rows);
}

bool Catalog::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare("SELECT 1 FROM documents WHERE name = ?");
  rows.bind(1, name);
  return rows.next();
}

std::optional<bool> Catalog::is_same(const std::string& name, std::string_view title,
                                     std::string_view text) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectDocument) + "WHERE name = ?");
  rows.bind(1, name);
  if (!rows.next()) return std::nullopt;
  const Document document = expect_good(rows, read_document, "document");
  return document.title == title && document.text == text;
}

std::vector<Document> Catalog::list(int64_t offset, int64_t limit) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectDocument) + "ORDER BY id LIMIT ? OFFSET ?");
  rows.bind(1, limit).bind(2, offset);
  std::vector<Document> documents;
  while (rows.next()) {
    documents.push_back(with_passages(rows));
    documents.back().text.clear();
  }
  return documents;
}

}  // namespace msa::memory
