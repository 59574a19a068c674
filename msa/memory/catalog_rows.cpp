#include "msa/memory/catalog_rows.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <span>

namespace msa::memory {
namespace {

using storage::Digest;
using storage::Statement;

bool is_count(int64_t number) { return number >= 0 && number <= kMaxCatalogNumber; }

/// Digests columns: an integer as its eight bytes, anything else after its length.
class RowDigest {
 public:
  RowDigest& add(std::string_view bytes) {
    add(static_cast<int64_t>(bytes.size()));
    digester_.add(bytes);
    return *this;
  }
  RowDigest& add(int64_t number) {
    digester_.add(std::as_bytes(std::span(&number, 1)));
    return *this;
  }
  RowDigest& add(const Digest& digest) {
    return add(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
  }
  Digest finish() const { return digester_.finish(); }

 private:
  storage::Digester digester_;
};

bool holds(const Statement& statement, int column, const Digest& digest) {
  return std::ranges::equal(statement.bytes(column), digest);
}

}  // namespace

const std::array<const char*, 5> kCatalogSchema{
    "CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL, digest BLOB NOT NULL) STRICT",
    "CREATE TABLE segments (id INTEGER PRIMARY KEY, file TEXT NOT NULL UNIQUE, "
    "passages INTEGER NOT NULL, chunks INTEGER NOT NULL, tokens INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, table_digest BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    "CREATE TABLE documents (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    "title TEXT NOT NULL, text TEXT NOT NULL, attributes TEXT NOT NULL, source TEXT NOT NULL, "
    "content BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    "CREATE TABLE passages (id INTEGER PRIMARY KEY, "
    "document INTEGER NOT NULL REFERENCES documents(id), start INTEGER NOT NULL, "
    "end INTEGER NOT NULL, tokens INTEGER NOT NULL, chunks INTEGER NOT NULL, "
    "segment INTEGER NOT NULL REFERENCES segments(id), digest BLOB NOT NULL) STRICT",
    "CREATE INDEX passages_by_document ON passages(document)"};

std::string segment_file_name(int64_t id) {
  char name[32];
  std::snprintf(name, sizeof name, "%06lld.msa", static_cast<long long>(id));
  return name;
}

Digest row_digest(const Fact& fact) { return RowDigest().add(fact.key).add(fact.value).finish(); }

Digest row_digest(const SegmentRow& s) {
  return RowDigest()
      .add(s.id)
      .add(s.file)
      .add(s.passages)
      .add(s.chunks)
      .add(s.tokens)
      .add(s.bytes)
      .add(s.digest)
      .finish();
}

/// One of every passage is made when a bank is opened.
Digest row_digest(const Passage& p) {
  const std::array columns{p.id, p.document, p.start, p.end, p.tokens, p.chunks, p.segment};
  return storage::digest_of(std::as_bytes(std::span(columns)));
}

Digest row_digest(const Document& d, const Digest& content) {
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

Digest content_digest(std::string_view title, std::string_view text) {
  return RowDigest().add(title).add(text).finish();
}

Checked<Fact> read_fact(const Statement& statement) {
  Checked<Fact> fact{{statement.text(0), statement.text(1)}};
  fact.is_good = holds(statement, 2, row_digest(fact.row));
  return fact;
}

Checked<SegmentRow> read_segment(const Statement& statement) {
  Checked<SegmentRow> segment{{.id = statement.integer(0),
                               .file = statement.text(1),
                               .passages = statement.integer(2),
                               .chunks = statement.integer(3),
                               .tokens = statement.integer(4),
                               .bytes = statement.integer(5)}};
  SegmentRow& row = segment.row;
  const std::span<const std::byte> table = statement.bytes(6);
  if (table.size() != row.digest.size()) return segment;
  std::memcpy(row.digest.data(), table.data(), table.size());
  segment.is_good = holds(statement, 7, row_digest(row)) && row.file == segment_file_name(row.id) &&
                    row.passages > 0 && row.bytes > 0 && is_count(row.id) &&
                    is_count(row.passages) && is_count(row.chunks) && is_count(row.tokens) &&
                    is_count(row.bytes);
  return segment;
}

Checked<Passage> read_passage(const Statement& statement) {
  Checked<Passage> passage{{.id = statement.integer(0),
                            .document = statement.integer(1),
                            .start = statement.integer(2),
                            .end = statement.integer(3),
                            .tokens = statement.integer(4),
                            .chunks = statement.integer(5),
                            .segment = statement.integer(6)}};
  const Passage& row = passage.row;
  passage.is_good = holds(statement, 7, row_digest(row)) && row.id > 0 && is_count(row.id) &&
                    row.start >= 0 && row.end >= row.start && is_count(row.end) &&
                    is_count(row.tokens) && is_count(row.chunks);
  return passage;
}

Checked<Document> read_document(const Statement& statement) {
  Checked<Document> document{{.row = statement.integer(0),
                              .name = statement.text(1),
                              .title = statement.text(2),
                              .text = statement.text(3),
                              .attributes = statement.text(4),
                              .source = statement.text(5),
                              .passages = {}}};
  const Document& row = document.row;
  const Digest content = content_digest(row.title, row.text);
  document.is_good = holds(statement, 6, content) && holds(statement, 7, row_digest(row, content));
  return document;
}

}  // namespace msa::memory
