#include <algorithm>
#include <string>

#include "msa/base/error.h"
#include "msa/memory/catalog.h"

namespace msa::memory {

using storage::Transaction;

void Catalog::set(const char* fact, int64_t value) {
  const Fact row{fact, std::to_string(value)};
  database_.prepare("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)")
      .bind(1, row.key)
      .bind(2, row.value)
      .bind(3, row_digest(row))
      .run();
}

/// `of` follows SELECT.
int64_t Catalog::count(const char* of) const {
  auto row = database_.prepare(std::string("SELECT ") + of);
  row.next();
  return row.integer(0);
}

void Catalog::begin_format_3() {
  if (number(kFormatFact, 1) >= kFormatWithDead) return;
  set(kNextSegmentFact,
      std::max(number(kNextSegmentFact, 1), count("coalesce(max(id), 0) + 1 FROM segments")));
  set(kNextDocumentFact, count("coalesce(max(id), 0) + 1 FROM documents"));
  set(kDocumentsFact, count("count(*) FROM documents"));
  set(kPassagesFact, count("count(*) FROM passages"));
  set(kFormatFact, kFormatWithDead);
}

void Catalog::reserve_segments_below(int64_t next) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_);
  set(kNextSegmentFact, next);
  transaction.commit();
}

int64_t Catalog::apply(CatalogChange change) {
  const std::lock_guard lock(mutex_);
  Transaction transaction(database_);
  int64_t generation = number(kGenerationFact, 1);
  if (!change.deleted.empty() || !change.dropped.empty()) {
    begin_format_3();
    set(kGenerationFact, ++generation);
  }
  remove(change.deleted);
  if (change.segment) {
    insert(*change.segment);
    insert(change.documents, change.segment->id);
    move(change.moved, change.segment->id);
    set(kNextSegmentFact, change.segment->id + 1);
  }
  auto drop = database_.prepare("DELETE FROM segments WHERE id = ?");
  for (const int64_t segment : change.dropped) drop.bind(1, segment).run();
  transaction.commit();
  return generation;
}

void Catalog::remove(const std::vector<HeldDocument>& documents) {
  if (documents.empty()) return;
  auto remove_document = database_.prepare("DELETE FROM documents WHERE id = ?");
  auto remove_passage = database_.prepare("DELETE FROM passages WHERE id = ?");
  int64_t num_passages = 0;
  for (const HeldDocument& document : documents) {
    for (const Passage& passage : document.passages) remove_passage.bind(1, passage.id).run();
    remove_document.bind(1, document.row).run();
    num_passages += static_cast<int64_t>(document.passages.size());
  }
  set(kDocumentsFact, number(kDocumentsFact, 0, 0) - static_cast<int64_t>(documents.size()));
  set(kPassagesFact, number(kPassagesFact, 0, 0) - num_passages);
}

void Catalog::insert(const SegmentRow& segment) {
  database_.prepare("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .bind(1, segment.id)
      .bind(2, segment.file)
      .bind(3, segment.passages)
      .bind(4, segment.chunks)
      .bind(5, segment.tokens)
      .bind(6, segment.bytes)
      .bind(7, segment.digest)
      .bind(8, row_digest(segment))
      .run();
}

/// Rows and ids are never used twice: those of deleted documents neither.
void Catalog::insert(std::vector<Document>& documents, int64_t segment) {
  if (documents.empty()) return;
  const bool is_counted = number(kFormatFact, 1) >= kFormatWithDead;
  int64_t next_row =
      is_counted ? number(kNextDocumentFact, 1) : count("coalesce(max(id), 0) + 1 FROM documents");
  int64_t next_id = next_passage_id();
  int64_t num_passages = 0;
  auto add_document = database_.prepare("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  auto add_passage = database_.prepare("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (Document& document : documents) {
    document.row = next_row++;
    const storage::Digest content = content_digest(document.title, document.text);
    add_document.bind(1, document.row)
        .bind(2, document.name)
        .bind(3, document.title)
        .bind(4, document.text)
        .bind(5, document.attributes)
        .bind(6, document.source)
        .bind(7, content)
        .bind(8, row_digest(document, content))
        .run();
    for (Passage& passage : document.passages) {
      passage.document = document.row;
      passage.segment = segment;
      MSA_CHECK(passage.id >= next_id, "passage id ", passage.id, " is not above the last one");
      next_id = passage.id + 1;
      add_passage.bind(1, passage.id)
          .bind(2, passage.document)
          .bind(3, passage.start)
          .bind(4, passage.end)
          .bind(5, passage.tokens)
          .bind(6, passage.chunks)
          .bind(7, passage.segment)
          .bind(8, row_digest(passage))
          .run();
      ++num_passages;
    }
  }
  set(kNextPassageIdFact, next_id);
  if (!is_counted) return;
  set(kNextDocumentFact, next_row);
  set(kDocumentsFact, number(kDocumentsFact, 0, 0) + static_cast<int64_t>(documents.size()));
  set(kPassagesFact, number(kPassagesFact, 0, 0) + num_passages);
}

void Catalog::move(std::vector<Passage>& passages, int64_t segment) {
  auto update = database_.prepare("UPDATE passages SET segment = ?, digest = ? WHERE id = ?");
  for (Passage& passage : passages) {
    passage.segment = segment;
    update.bind(1, segment).bind(2, row_digest(passage)).bind(3, passage.id).run();
  }
}

void Catalog::purge(const std::filesystem::path& temporary) const {
  const std::lock_guard lock(mutex_);
  database_.rebuild(temporary);
  database_.checkpoint();
}

}  // namespace msa::memory
