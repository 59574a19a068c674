#pragma once
// The catalog's tables, and how their rows are read, digested and checked.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "msa/memory/bank_facts.h"
#include "msa/storage/database.h"
#include "msa/storage/digest.h"

namespace msa::memory {

/// The largest id, count or size that a row or a fact may hold: no sum over a catalog overflows.
constexpr int64_t kMaxCatalogNumber = int64_t{1} << 40;

/// A committed segment file.
struct SegmentRow {
  int64_t id = 0;
  std::string file;  // name within segments/: segment_file_name(id)
  int64_t passages = 0;
  int64_t chunks = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
  storage::Digest digest{};  // of the file's digest table
};

/// "000017.msa"
std::string segment_file_name(int64_t id);

/// What creates an empty catalog, one statement each, as SQLite keeps them.
extern const std::array<const char*, 5> kCatalogSchema;

/// Facts that a writer moves on.
inline constexpr const char* kFormatFact = "format";
inline constexpr const char* kNextPassageIdFact = "next_passage_id";
inline constexpr const char* kNextSegmentFact = "next_segment";
inline constexpr const char* kBankIdFact =
    "bank_id";  // never moved; banks of older programs lack it
// From format 3 on:
inline constexpr const char* kNextDocumentFact = "next_document";
inline constexpr const char* kGenerationFact = "generation";
inline constexpr const char* kDocumentsFact = "documents";
inline constexpr const char* kPassagesFact = "passages";

/// The beginning of a query for whole rows, in the order that the functions below read.
inline constexpr const char* kSelectFact = "SELECT key, value, digest FROM facts ";
inline constexpr const char* kSelectSegment =
    "SELECT id, file, passages, chunks, tokens, bytes, table_digest, digest FROM segments ";
inline constexpr const char* kSelectPassage =
    "SELECT id, document, start, end, tokens, chunks, segment, digest FROM passages ";
inline constexpr const char* kSelectDocument =
    "SELECT id, name, title, text, attributes, source, content, digest FROM documents ";

/// A row and whether it is what was written: its digest is right, and its numbers make sense.
template <typename Row>
struct Checked {
  Row row;
  bool is_good = false;
};

struct Fact {
  std::string key;
  std::string value;
};

Checked<Fact> read_fact(const storage::Statement& statement);
Checked<SegmentRow> read_segment(const storage::Statement& statement);
Checked<Passage> read_passage(const storage::Statement& statement);
/// Without its passages.
Checked<Document> read_document(const storage::Statement& statement);

/// The column `digest` of a row.
storage::Digest row_digest(const Fact& fact);
storage::Digest row_digest(const SegmentRow& segment);
storage::Digest row_digest(const Passage& passage);
storage::Digest row_digest(const Document& document, const storage::Digest& content);

/// The column `content` of a document.
storage::Digest content_digest(std::string_view title, std::string_view text);

}  // namespace msa::memory
