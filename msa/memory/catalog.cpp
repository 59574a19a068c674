#include "msa/memory/catalog.h"

#include <charconv>
#include <limits>
#include <map>
#include <span>
#include <unordered_set>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

using storage::Database;
using storage::Statement;
using storage::Transaction;

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

constexpr uint64_t kLeastPassageBytes = sizeof(storage::Digest) + 8;  // of its row

std::string without_space(std::string text) {
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n'; });
  return text;
}

}  // namespace

Catalog::Catalog(const std::filesystem::path& path, Database::Mode mode, const char* vfs)
    : path_(path), database_(path, mode, vfs) {
  // SQLite would read all passages for each segment that is dropped. verify_bank checks references.
  if (mode == Database::Mode::kWrite) database_.execute("PRAGMA foreign_keys = OFF");
}

void Catalog::create(FileSystem& files, const std::filesystem::path& folder,
                     const BankFacts& facts) {
  for (const std::string& name : files.list(folder)) {
    if (name.starts_with(kNewFile)) files.remove(folder / name);
  }
  files.create(folder / kNewFile);  // SQLite keeps the mode of a file that exists
  {
    const Database database(folder / kNewFile, Database::Mode::kCreate, files.database_vfs());
    Transaction transaction(database);
    for (const char* statement : kCatalogSchema) database.execute(statement);
    auto insert = database.prepare("INSERT INTO facts VALUES (?, ?, ?)");
    auto all = facts_to_text(facts);
    all[kNextPassageIdFact] = "1";
    all[kNextSegmentFact] = "1";
    auto id = database.prepare("SELECT lower(hex(randomblob(16)))");
    if (id.next()) all[kBankIdFact] = id.text(0);
    id.reset();
    for (const auto& [key, value] : all) {
      insert.bind(1, key).bind(2, value).bind(3, row_digest(Fact{key, value})).run();
    }
    transaction.commit();
    // Only the database file is renamed.
    database.checkpoint();
  }
  files.rename(folder / kNewFile, folder / kFile);
  files.sync_directory(folder);
}

std::unique_ptr<Catalog> Catalog::open(const FileSystem& files, const std::filesystem::path& folder,
                                       Database::Mode mode) {
  return std::unique_ptr<Catalog>(new Catalog(folder / kFile, mode, files.database_vfs()));
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

int64_t Catalog::number(const char* fact, int64_t otherwise, int64_t least) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectFact) + "WHERE key = ?");
  rows.bind(1, fact);
  if (!rows.next()) return otherwise;
  const std::string text = expect_good(rows, read_fact, "the fact").value;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least ||
      value > kMaxCatalogNumber) {
    throw Error(ErrorCode::kCorruption, path_.string(), ": the fact \"", fact, "\" is no number");
  }
  return value;
}

std::string Catalog::bank_id() const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectFact) + "WHERE key = ?");
  rows.bind(1, kBankIdFact);
  return rows.next() ? expect_good(rows, read_fact, "the fact").value : std::string();
}

void Catalog::copy_to(const std::filesystem::path& path) const {
  const std::lock_guard lock(mutex_);
  database_.copy_to(path);
}

void Catalog::replace_with(const std::filesystem::path& other) const {
  const std::lock_guard lock(mutex_);
  database_.replace_with(other);
}

int64_t Catalog::next_passage_id() const { return number(kNextPassageIdFact, 1); }
int64_t Catalog::next_segment() const { return number(kNextSegmentFact, 1); }
int64_t Catalog::generation() const { return number(kGenerationFact, 1); }

/// That there are as many as the facts say, or the segments of a bank in which nothing was deleted;
/// and that no number which comes next is in use.
void Catalog::expect_totals(const PassageTotals& held,
                            const std::vector<SegmentRow>& segments) const {
  const auto compare = [&](const char* what, int64_t count, int64_t wanted) {
    if (count == wanted) return;
    throw Error(ErrorCode::kCorruption, path_.string(), ": has ", count, " ", what, ", ", wanted,
                " are to be there");
  };
  const auto expect_above = [&](const char* fact, int64_t next, int64_t last) {
    if (next > last) return;
    throw Error(ErrorCode::kCorruption, path_.string(), ": the fact \"", fact, "\" is ", next,
                ", which is in use");
  };
  if (number(kFormatFact, 1) >= kFormatWithDead) {
    compare("passages", held.passages, number(kPassagesFact, -1, 0));
    compare("documents", held.documents, number(kDocumentsFact, -1, 0));
    expect_above(kNextDocumentFact, number(kNextDocumentFact, 0, 0), held.last_document);
  } else {
    int64_t count = 0;
    for (const SegmentRow& segment : segments) count += segment.passages;
    compare("passages", held.passages, count);
  }
  expect_above(kNextPassageIdFact, next_passage_id(), held.last_passage);
  const int64_t last_segment = segments.empty() ? 0 : segments.back().id;
  expect_above(kNextSegmentFact, number(kNextSegmentFact, last_segment + 1), last_segment);
}

CatalogSnapshot Catalog::snapshot(const DocumentFilter& filter) const {
  const std::lock_guard lock(mutex_);
  const Transaction transaction(database_, Transaction::Kind::kRead);
  CatalogSnapshot snapshot{.facts = facts(),
                           .format = number(kFormatFact, 1),
                           .generation = generation(),
                           .next_passage_id = next_passage_id(),
                           .segments = segments(),
                           .passages = passages()};
  PassageTotals held;
  for (const Passage& passage : snapshot.passages) held.add(passage);
  expect_totals(held, snapshot.segments);
  if (filter.is_empty()) return snapshot;
  std::unordered_set<int64_t> counting;
  for_each_document(filter, [&](const Document& document) { counting.insert(document.row); });
  snapshot.keep([&](const Passage& passage) { return counting.contains(passage.document); });
  return snapshot;
}

/// Calls `work` with each document that counts, without its passages; by rising row.
template <typename Work>
void Catalog::for_each_document(const DocumentFilter& filter, const Work& work) const {
  auto rows = database_.prepare(std::string(kSelectDocument) + "ORDER BY id");
  while (rows.next()) {
    const Document document = expect_good(rows, read_document, "document");
    if (filter.matches(document)) work(document);
  }
}

std::vector<std::string> Catalog::names(const DocumentFilter& filter) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for_each_document(filter, [&](const Document& document) { names.push_back(document.name); });
  return names;
}

std::vector<SegmentUse> Catalog::segment_uses() const {
  const std::lock_guard lock(mutex_);
  const Transaction transaction(database_, Transaction::Kind::kRead);
  const std::vector<SegmentRow> all = segments();
  SegmentUseCount uses(all, path_.string());
  auto rows = database_.prepare(std::string(kSelectPassage) + "ORDER BY id");
  PassageTotals held;
  while (rows.next()) {
    const Passage passage = expect_good(rows, read_passage, "passage");
    uses.add(passage);
    held.add(passage);
  }
  expect_totals(held, all);
  return uses.finish();
}

std::vector<SegmentRow> Catalog::segments() const {
  const std::lock_guard lock(mutex_);
  std::vector<SegmentRow> segments;
  auto rows = database_.prepare(std::string(kSelectSegment) + "ORDER BY id");
  while (rows.next()) segments.push_back(expect_good(rows, read_segment, "segment"));
  return segments;
}

std::vector<Passage> Catalog::passages() const {
  return passages_between(0, std::numeric_limits<int64_t>::max());
}

/// Of all passages, from what facts and segments say: not more than there is room for in the file.
size_t Catalog::expected_passages() const {
  const bool is_counted = number(kFormatFact, 1) >= kFormatWithDead;
  const int64_t count = is_counted ? number(kPassagesFact, 0, 0)
                                   : this->count("coalesce(sum(passages), 0) FROM segments");
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path_, error);
  return error ? 0 : std::min(static_cast<size_t>(count), bytes / kLeastPassageBytes);
}

std::vector<Passage> Catalog::passages_between(int64_t first, int64_t end) const {
  const std::lock_guard lock(mutex_);
  std::vector<Passage> passages;
  if (first == 0 && end == std::numeric_limits<int64_t>::max())
    passages.reserve(expected_passages());
  auto rows =
      database_.prepare(std::string(kSelectPassage) + "WHERE id >= ? AND id < ? ORDER BY id");
  rows.bind(1, first).bind(2, end);
  while (rows.next()) passages.push_back(expect_good(rows, read_passage, "passage"));
  return passages;
}

std::optional<Document> Catalog::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectDocument) + "WHERE name = ?");
  rows.bind(1, name);
  if (!rows.next()) return std::nullopt;
  return expect_good(rows, read_document, "document");
}

std::optional<Document> Catalog::find(int64_t row) const {
  const std::lock_guard lock(mutex_);
  const Kept rows(find_by_row_, database_, std::string(kSelectDocument) + "WHERE id = ?");
  rows->bind(1, row);
  if (!rows->next()) return std::nullopt;
  return expect_good(*rows, read_document, "document");
}

bool Catalog::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare("SELECT 1 FROM documents WHERE name = ?");
  rows.bind(1, name);
  return rows.next();
}

std::optional<HeldDocument> Catalog::where_is(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  auto found = database_.prepare("SELECT id FROM documents WHERE name = ?");
  found.bind(1, name);
  if (!found.next()) return std::nullopt;
  HeldDocument document{.row = found.integer(0), .passages = {}};
  auto rows = database_.prepare(std::string(kSelectPassage) + "WHERE document = ? ORDER BY id");
  rows.bind(1, document.row);
  while (rows.next()) {
    document.passages.push_back(expect_good(rows, read_passage, "passage"));
  }
  return document;
}

std::optional<bool> Catalog::is_same(const Document& document) const {
  const std::lock_guard lock(mutex_);
  auto rows = database_.prepare(std::string(kSelectDocument) + "WHERE name = ?");
  rows.bind(1, document.name);
  if (!rows.next()) return std::nullopt;
  const Document held = expect_good(rows, read_document, "document");
  return held.title == document.title && held.text == document.text &&
         held.attributes == document.attributes;
}

}  // namespace msa::memory
