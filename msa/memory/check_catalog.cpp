#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/catalog.h"
#include "msa/storage/page_vfs.h"

namespace msa::memory {
namespace {

constexpr int kSqliteIoError = 10;  // SQLITE_IOERR

/// Reads a catalog whose tables are ours part by part. What cannot be read keeps no other part from
/// being read, and nothing is reported twice.
class CatalogReading {
 public:
  CatalogReading(const storage::Database& database, std::string file)
      : database_(database), file_(std::move(file)) {}

  void report(const std::string& document, const std::string& what) {
    if (!said_.emplace(document, what).second) return;
    check_.problems.push_back({.file = file_, .offset = -1, .document = document, .what = what});
  }

  /// False if it threw, which is reported.
  template <typename Read>
  bool part(const Read& read) {
    try {
      read();
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption && !check_.failure) check_.failure = error;
      report("", error.what());
      return false;
    }
  }

  void read_integrity() {
    part([&] {
      auto rows = database_.prepare("PRAGMA integrity_check");
      while (rows.next()) {
        const std::string text = rows.text(0);
        if (text == "ok") continue;
        report("", "SQLite: " + text);
        // Of pages that could not be read, many in one text.
        constexpr std::string_view kCode = "error code=";
        for (size_t code = text.find(kCode); code != std::string::npos && !check_.failure;
             code = text.find(kCode, code + 1)) {
          const auto number = std::strtol(text.c_str() + code + kCode.size(), nullptr, 10);
          if ((number & 0xff) == kSqliteIoError && number != storage::kNotWhatWasSealed) {
            check_.failure = Error(ErrorCode::kIo, file_, ": ", text);
          }
        }
      }
    });
  }

  /// True if all facts are good.
  bool read_facts() {
    std::map<std::string, std::string> all;
    bool is_damaged = false;
    const bool is_read = part([&] {
      auto rows = database_.prepare(kSelectFact);
      while (rows.next()) {
        const auto [row, is_good] = read_fact(rows);
        if (!is_good) report("", "the fact \"" + row.key + "\" is damaged");
        is_damaged |= !is_good;
        all[row.key] = row.value;
      }
    });
    return is_read && !is_damaged && part([&] { check_.facts = facts_from(all, file_); });
  }

  void set_may_hold_dead(bool may) { check_.may_hold_dead = may; }
  void set_state(int64_t format, int64_t generation, int64_t next_passage_id) {
    check_.format = format;
    check_.generation = generation;
    check_.next_passage_id = next_passage_id;
  }

  void read_segments() {
    check_.has_all_segments = part([&] {
      auto rows = database_.prepare(std::string(kSelectSegment) + "ORDER BY id");
      while (rows.next()) {
        auto [row, is_good] = read_segment(rows);
        if (!is_good) report("", "the row of segment " + std::to_string(row.id) + " is damaged");
        (is_good ? check_.segments : check_.damaged_segments).push_back(std::move(row));
      }
    });
    check_.has_all_segments &= check_.damaged_segments.empty();
  }

  void read_documents() {
    has_all_documents_ = part([&] {
      auto rows = database_.prepare(kSelectDocument);
      while (rows.next()) {
        const auto [row, is_good] = read_document(rows);
        check_.names[row.row] = row.name;
        if (is_good) continue;
        report(row.name, "the row of the document is damaged");
        check_.damaged_documents.insert(row.row);
      }
    });
    has_all_documents_ &= check_.damaged_documents.empty();
  }

  void read_passages() {
    bool is_damaged = false;
    std::set<int64_t> with_passages;  // documents
    const bool is_read = part([&] {
      auto rows = database_.prepare(
          "SELECT p.id, p.document, p.start, p.end, p.tokens, p.chunks, p.segment, p.digest, "
          "d.name, length(CAST(d.text AS BLOB)), d.id, s.id FROM passages p "
          "LEFT JOIN documents d ON d.id = p.document LEFT JOIN segments s ON s.id = p.segment "
          "ORDER BY p.id");
      while (rows.next()) {
        with_passages.insert(rows.integer(1));
        is_damaged |= !read_one_passage(rows);
      }
    });
    check_.has_all_passages = is_read && !is_damaged;
    if (!check_.has_all_passages || !has_all_documents_) return;
    for (const auto& [row, name] : check_.names) {
      if (!with_passages.contains(row)) report(name, "it has no passage");
    }
  }

  /// Passages of a segment stand side by side; where none may be dead, segments rise with them.
  void check_order() {
    std::set<int64_t> seen;
    int64_t last = 0;
    bool is_in_order = true;
    for (const Passage& passage : check_.passages) {
      if (passage.segment == last) continue;
      is_in_order &= seen.insert(passage.segment).second;
      is_in_order &= check_.may_hold_dead || passage.segment > last;
      last = passage.segment;
    }
    if (!is_in_order) report("", "passages of a segment stand between those of another one");
    check_order_of_documents();
    std::ranges::stable_sort(check_.passages, {}, &Passage::segment);
  }

  /// Counts that facts keep, where all rows are good; `wanted` below 0 is none.
  void check_counts(int64_t documents, int64_t passages) {
    const auto compare = [&](const char* what, int64_t wanted, size_t count) {
      if (wanted < 0 || wanted == static_cast<int64_t>(count)) return;
      report("", "holds " + std::to_string(count) + " " + what + ", " + std::to_string(wanted) +
                     " are to be there");
    };
    if (has_all_documents_) compare("documents", documents, check_.names.size());
    if (check_.has_all_passages) compare("passages", passages, check_.passages.size());
  }

  void check_next(int64_t passage, int64_t document, int64_t segment) {
    const auto is_used = [](int64_t next, int64_t last) { return next > 0 && next <= last; };
    const auto last_of = [](const auto& rows) { return rows.empty() ? 0 : rows.back().id; };
    if (is_used(passage, last_of(check_.passages))) report("", "the next passage id is in use");
    if (is_used(segment, last_of(check_.segments))) report("", "the next segment is in use");
    if (is_used(document, check_.names.empty() ? 0 : check_.names.rbegin()->first)) {
      report("", "the next document is in use");
    }
  }

  CatalogCheck take() { return std::move(check_); }

 private:
  /// Passages of a document stand side by side: documents are counted by this. `check_.passages` by
  /// rising id.
  void check_order_of_documents() {
    if (!check_.may_hold_dead) return;
    std::set<int64_t> seen;
    int64_t last = 0;
    bool is_in_order = true;
    for (const Passage& passage : check_.passages) {
      if (passage.document == last) continue;
      is_in_order &= seen.insert(passage.document).second;
      last = passage.document;
    }
    if (!is_in_order) report("", "passages of a document stand between those of another one");
  }

  bool read_one_passage(const storage::Statement& rows) {
    const auto [row, is_good] = read_passage(rows);
    const std::string document = rows.text(8);
    const std::string name = "passage " + std::to_string(row.id);
    const bool has_document = rows.integer(10) != 0;
    const bool is_beyond = has_document && !check_.damaged_documents.contains(row.document) &&
                           row.end > rows.integer(9);
    if (!is_good || is_beyond) {
      report(document, "the row of " + name + " is damaged");
      check_.damaged_documents.insert(row.document);  // as far as it still says so
      return false;
    }
    // Where rows are damaged, that has been said.
    if (!has_document && has_all_documents_) report("", name + " has no document");
    const bool has_segment = rows.integer(11) != 0;
    if (!has_segment && check_.has_all_segments) report(document, name + " has no segment");
    check_.passages.push_back(row);
    return true;
  }

  const storage::Database& database_;
  std::string file_;
  std::set<std::pair<std::string, std::string>> said_;
  bool has_all_documents_ = false;
  CatalogCheck check_;
};

}  // namespace

CatalogCheck Catalog::check() const {
  const std::lock_guard lock(mutex_);
  CatalogReading reading(database_, path_.string());
  std::optional<storage::Transaction> one_state;
  reading.part([&] { one_state.emplace(database_, storage::Transaction::Kind::kRead); });
  bool is_ours = false;
  if (!reading.part([&] { is_ours = has_our_tables(); }) || !is_ours) {
    reading.part([&] { facts(); });  // says what it is instead
    return reading.take();
  }
  // Not before: it evaluates the checks of whatever tables there are, which can take for ever.
  reading.read_integrity();
  const bool has_all_facts = reading.read_facts();
  reading.part([&] { reading.set_may_hold_dead(number(kFormatFact, 1) >= kFormatWithDead); });
  reading.read_segments();
  reading.read_documents();
  reading.read_passages();
  reading.part([&] {
    if (!has_all_facts) return;
    reading.set_state(number(kFormatFact, 1), generation(), next_passage_id());
    reading.check_next(next_passage_id(), number(kNextDocumentFact, 0),
                       number(kNextSegmentFact, 0));
    reading.check_counts(number(kDocumentsFact, -1, 0), number(kPassagesFact, -1, 0));
  });
  reading.check_order();
  return reading.take();
}

}  // namespace msa::memory
