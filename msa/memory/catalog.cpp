#include "msa/memory/catalog.h"

#include <cstring>
#include <map>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::memory {
namespace {

using storage::Database;
using storage::Statement;
using storage::Transaction;

constexpr const char* kSchema = R"(
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TABLE segments (
  id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, passages INTEGER NOT NULL, chunks INTEGER NOT NULL,
  tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, table_digest BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, text TEXT NOT NULL,
  attributes TEXT NOT NULL, source TEXT NOT NULL, content BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TABLE passages (
  id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents(id), start INTEGER NOT NULL,
  end INTEGER NOT NULL, tokens INTEGER NOT NULL, chunks INTEGER NOT NULL,
  segment INTEGER NOT NULL REFERENCES segments(id), digest BLOB NOT NULL) STRICT;
CREATE INDEX passages_by_document ON passages(document);
)";

/// The digest of a row: its columns, each with its length.
class RowDigest {
 public:
  RowDigest& add(std::string_view text) {
    add(static_cast<int64_t>(text.size()));
    digester_.add(text);
    return *this;
  }
  RowDigest& add(int64_t number) {
    digester_.add(std::as_bytes(std::span(&number, 1)));
    return *this;
  }
  std::string finish() const {
    const storage::Digest digest = digester_.finish();
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
  }

 private:
  storage::Digester digester_;
};

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string row_digest(const std::string& key, const std::string& value) {
  return RowDigest().add(key).add(value).finish();
}

std::string row_digest(const SegmentRow& row) {
  const std::string table(reinterpret_cast<const char*>(row.digest.data()), row.digest.size());
  return RowDigest()
      .add(row.id)
      .add(row.file)
      .add(row.passages)
      .add(row.chunks)
      .add(row.tokens)
      .add(row.bytes)
      .add(table)
      .finish();
}

std::string row_digest(const Document& d, const std::string& content) {
  return RowDigest()
      .add(d.row)
      .add(d.name)
      .add(d.title)
      .add(d.text)
      .add(d.attributes)
      .add(d.source)
      .add(content)
      .finish();
}

std::string row_digest(const Passage& p) {
  return RowDigest()
      .add(p.id)
      .add(p.document)
      .add(p.start)
      .add(p.end)
      .add(p.tokens)
      .add(p.chunks)
      .add(p.segment)
      .finish();
}

Passage read_passage(const Statement& row) {
  return {.id = row.integer(0),
          .document = row.integer(1),
          .start = row.integer(2),
          .end = row.integer(3),
          .tokens = row.integer(4),
          .chunks = row.integer(5),
          .segment = row.integer(6)};
}

SegmentRow read_segment(const Statement& row) {
  SegmentRow segment{.id = row.integer(0),
                     .file = row.text(1),
                     .passages = row.integer(2),
                     .chunks = row.integer(3),
                     .tokens = row.integer(4),
                     .bytes = row.integer(5)};
  const std::string digest = row.blob(6);
  if (digest.size() == segment.digest.size()) {
    std::memcpy(segment.digest.data(), digest.data(), digest.size());
  }
  return segment;
}

Document read_document(const Statement& row) {
  return {.row = row.integer(0),
          .name = row.text(1),
          .title = row.text(2),
          .text = row.text(3),
          .attributes = row.text(4),
          .source = row.text(5),
          .passages = {}};
}

constexpr const char* kPassageColumns =
    "SELECT id, document, start, end, tokens, chunks, segment, digest FROM passages ";
constexpr const char* kDocumentColumns =
    "SELECT id, name, title, text, attributes, source, content, digest FROM documents ";
constexpr const char* kSegmentColumns =
    "SELECT id, file, passages, chunks, tokens, bytes, table_digest, digest FROM segments ";

}  // namespace

Catalog::Catalog(const std::filesystem::path& path, Database::Mode mode)
    : path_(path), database_(path, mode) {}

void Catalog::create(FileSystem& files, const std::filesystem::path& folder,
                     const BankFacts& facts) {
  for (const std::string& name : files.list(folder)) {
    if (name.starts_with(kNewFile)) files.remove(folder / name);
  }
  {
    const Database database(folder / kNewFile, Database::Mode::kCreate);
    Transaction transaction(database);
    database.execute(kSchema);
    auto insert = database.prepare("INSERT INTO facts VALUES (?, ?, ?)");
    auto all = facts_to_text(facts);
    all["next_passage_id"] = "1";
    for (const auto& [key, value] : all) {
      insert.bind(1, key).bind(2, value).bind(3, bytes_of(row_digest(key, value))).run();
    }
    transaction.commit();
  }
  files.rename(folder / kNewFile, folder / kFile);
  files.sync_directory(folder);
}

std::unique_ptr<Catalog> Catalog::open(const std::filesystem::path& folder, Database::Mode mode) {
  return std::unique_ptr<Catalog>(new Catalog(folder / kFile, mode));
}

BankFacts Catalog::facts() const {
  const std::lock_guard lock(mutex_);
  std::map<std::string, std::string> all;
  auto rows = database_.prepare("SELECT key, value, digest FROM facts");
  while (rows.next()) {
    if (rows.blob(2) != row_digest(rows.text(0), rows.text(1))) {
      throw Error(ErrorCode::kCorruption, path_.string(), ": the fact \"", rows.text(0),
                  "\" is damaged");
    }
    all[rows.text(0)] = rows.text(1);
  }
  return facts_from(all, path_.string());
}

int64_t Catalog::next_passage_id() const {
  const std::lock_guard lock(mutex_);
  auto row = database_.prepare("SELECT value FROM facts WHERE key = 'next_passage_id'");
  return row.next() ? std::stoll(row.text(0)) : 1;
}

void Catalog::add(const SegmentRow& segment, std::vector<Document>& documents) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_);
  const std::string table(reinterpret_cast<const char*>(segment.digest.data()),
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
  const std::string value = std::to_string(next_id);
  database_.prepare("UPDATE facts SET value = ?, digest = ? WHERE key = 'next_passage_id'")
      .bind(1, value)
      .bind(2, bytes_of(row_digest("next_passage_id", value)))
      .run();
  transaction.commit();
}

std::vector<SegmentRow> Catalog::segments() const {
  const std::lock_guard lock(mutex_);
  std::vector<SegmentRow> segments;
  auto rows = database_.prepare(std::string(kSegmentColumns) + "ORDER BY id");
  while (rows.next()) segments.push_back(read_segment(rows));
  return segments;
}

std::vector<Passage> Catalog::passages() const {
  const std::lock_guard lock(mutex_);
  std::vector<Passage> passages;
  auto rows = database_.prepare(std::string(kPassageColumns) + "ORDER BY id");
  while (rows.next()) passages.push_back(read_passage(rows));
  return passages;
}

std::optional<Document> Catalog::document(Statement statement) const {
  if (!statement.next()) return std::nullopt;
  Document document = read_document(statement);
  if (statement.blob(7) != row_digest(document, statement.blob(6))) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": the row of document \"", document.name,
                "\" is damaged");
  }
  auto rows = database_.prepare(std::string(kPassageColumns) + "WHERE document = ? ORDER BY id");
  rows.bind(1, document.row);
  while (rows.next()) document.passages.push_back(read_passage(rows));
  return document;
}

std::optional<Document> Catalog::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kDocumentColumns) + "WHERE name = ?");
  rows.bind(1, name);
  return document(std::move(rows));
}

std::optional<Document> Catalog::find(int64_t row) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kDocumentColumns) + "WHERE id = ?");
  rows.bind(1, row);
  return document(std::move(rows));
}

std::optional<std::string> Catalog::content_digest(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare("SELECT content FROM documents WHERE name = ?");
  rows.bind(1, name);
  if (!rows.next()) return std::nullopt;
  return rows.blob(0);
}

std::string Catalog::content_digest(const std::string& title, const std::string& text) {
  return RowDigest().add(title).add(text).finish();
}

std::vector<Document> Catalog::list(int64_t offset, int64_t limit) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(
      "SELECT id, name, title, '', attributes, source FROM documents ORDER BY id LIMIT ? OFFSET ?");
  rows.bind(1, limit).bind(2, offset);
  auto own = database_.prepare(std::string(kPassageColumns) + "WHERE document = ? ORDER BY id");
  std::vector<Document> documents;
  while (rows.next()) {
    documents.push_back(read_document(rows));
    own.bind(1, documents.back().row);
    while (own.next()) documents.back().passages.push_back(read_passage(own));
  }
  return documents;
}

BankStats Catalog::stats() const {
  const std::lock_guard lock(mutex_);
  BankStats stats;
  auto sums = database_.prepare(
      "SELECT count(*), coalesce(sum(passages), 0), coalesce(sum(chunks), 0), "
      "coalesce(sum(tokens), 0) FROM segments");
  sums.next();
  stats.segments = sums.integer(0);
  stats.passages = sums.integer(1);
  stats.chunks = sums.integer(2);
  stats.tokens = sums.integer(3);
  auto count = database_.prepare("SELECT count(*) FROM documents");
  count.next();
  stats.documents = count.integer(0);
  return stats;
}

std::vector<BankProblem> Catalog::problems() const {
  const std::lock_guard lock(mutex_);
  std::vector<BankProblem> problems;
  const auto report = [&](const std::string& document, const std::string& what) {
    problems.push_back({path_.string(), -1, document, what});
  };
  auto integrity = database_.prepare("PRAGMA integrity_check");
  while (integrity.next()) {
    if (integrity.text(0) != "ok") report("", "SQLite: " + integrity.text(0));
  }
  auto references = database_.prepare("PRAGMA foreign_key_check");
  while (references.next()) report("", "a row of " + references.text(0) + " refers to nothing");
  auto facts = database_.prepare("SELECT key, value, digest FROM facts");
  while (facts.next()) {
    if (facts.blob(2) != row_digest(facts.text(0), facts.text(1))) {
      report("", "the fact \"" + facts.text(0) + "\" is damaged");
    }
  }
  auto segments = database_.prepare(kSegmentColumns);
  while (segments.next()) {
    const SegmentRow row = read_segment(segments);
    if (segments.blob(7) != row_digest(row)) report("", "the row of " + row.file + " is damaged");
  }
  auto documents = database_.prepare(kDocumentColumns);
  while (documents.next()) {
    const Document row = read_document(documents);
    const std::string content = documents.blob(6);
    if (documents.blob(7) != row_digest(row, content) ||
        content != content_digest(row.title, row.text)) {
      report(row.name, "the row of the document is damaged");
    }
  }
  auto passages = database_.prepare(
      "SELECT p.id, p.document, p.start, p.end, p.tokens, p.chunks, p.segment, p.digest, d.name, "
      "length(CAST(d.text AS BLOB)) FROM passages p LEFT JOIN documents d ON d.id = p.document");
  while (passages.next()) {
    const Passage row = read_passage(passages);
    if (passages.blob(7) != row_digest(row) || row.start < 0 || row.end < row.start ||
        row.end > passages.integer(9)) {
      report(passages.text(8), "the row of passage " + std::to_string(row.id) + " is damaged");
    }
  }
  return problems;
}

}  // namespace msa::memory
