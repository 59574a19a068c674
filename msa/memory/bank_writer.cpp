#include "msa/memory/bank_writer.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/generation_lock.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_layout.h"
#include "msa/memory/segment_writer.h"
#include "msa/storage/encrypted_files.h"

namespace msa::memory {
namespace {

/// Throws unless the folder holds nothing but what an interrupted creation may have left, or a bank
/// that another process has just made.
void expect_ours(FileSystem& files, const std::filesystem::path& folder) {
  const std::set<std::string> own{"LOCK", Bank::kReadersFile, "segments", "tmp"};
  for (const std::string& name : files.list(folder)) {
    if (own.contains(name) || name.starts_with(Catalog::kNewFile) ||
        name.starts_with(Catalog::kFile) || name.starts_with(storage::EncryptedFiles::kFile)) {
      continue;
    }
    throw Error(ErrorCode::kInvalidFormat, folder.string(),
                " is neither a bank nor empty: it holds ", name);
  }
}

/// A bank without its catalog is no place for a new one: all its segments would be taken for
/// leavings.
void expect_no_bank(FileSystem& files, const std::filesystem::path& folder) {
  const bool has_segments =
      files.exists(folder / "segments") && !files.list(folder / "segments").empty();
  if (has_segments || files.exists(folder / (std::string(Catalog::kFile) + "-wal"))) {
    throw Error(ErrorCode::kCorruption, folder.string(), ": a bank's files are there, but not its ",
                Catalog::kFile);
  }
}

}  // namespace

BankWriter::BankWriter(FileSystem& files, std::filesystem::path folder,
                       const CompactionPolicy& policy)
    : files_(files), folder_(std::move(folder)), policy_(policy), retired_(files_, folder_) {}

BankWriter::~BankWriter() {
  if (!has_failed_ || catalog_ == nullptr) return;
  try {
    clean();
  } catch (...) {
    // The next writer does it. Until then a transaction whose sync failed may be in the bank.
  }
}

std::unique_ptr<BankWriter> BankWriter::open(FileSystem& files, const std::filesystem::path& folder,
                                             const BankFacts& facts,
                                             const CompactionPolicy& policy) {
  auto writer = std::unique_ptr<BankWriter>(new BankWriter(files, folder, policy));
  if (!files.exists(folder / Catalog::kFile)) {
    files.create_directory(folder);
    // The folder may be there without being durable: made by a creation that then failed.
    files.sync_directory(std::filesystem::absolute(folder / "").parent_path().parent_path());
    expect_ours(files, folder);
  }
  writer->lock_ = FileLock::acquire(folder / "LOCK");
  storage::expect_key_fits(files, folder);
  files.create_directory(folder / "segments");
  files.create_directory(folder / "tmp");
  if (!files.exists(folder / Catalog::kFile)) {
    expect_no_bank(files, folder);
    Catalog::create(files, folder, facts);
  }
  if (files.exists(folder / Bank::kBackupFile)) {  // no backup may undo what is now written
    files.remove(folder / Bank::kBackupFile);
    files.sync_directory(folder);
  }
  writer->catalog_ = Catalog::open(files, folder, storage::Database::Mode::kWrite);
  writer->load(facts);
  return writer;
}

std::unique_ptr<BankWriter> BankWriter::open_existing(FileSystem& files,
                                                      const std::filesystem::path& folder,
                                                      const CompactionPolicy& policy) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  storage::expect_key_fits(files, folder);
  return open(files, folder, Catalog::open(files, folder, storage::Database::Mode::kRead)->facts(),
              policy);
}

void BankWriter::load(const BankFacts& facts) {
  expect_equal(catalog_->facts(), facts, "the bank " + folder_.string());
  facts_ = facts;
  next_segment_ = catalog_->next_segment();
  // Made now, since a reader that may not write here can then lock it too.
  GenerationLock::hold_all(folder_ / Bank::kReadersFile);
  has_failed_ = true;  // a change of the last writer may have
  clean();
}

/// Reads again what the catalog holds, and removes what it does not name.
void BankWriter::clean() {
  for (const std::string& name : files_.list(folder_ / "tmp")) {
    files_.remove(folder_ / "tmp" / name);
  }
  next_passage_id_ = catalog_->next_passage_id();
  generation_ = catalog_->generation();
  uses_ = catalog_->segment_uses();
  std::set<std::string> known;
  for (const SegmentUse& use : uses_) {
    known.insert(use.row.file);
    next_segment_ = std::max(next_segment_, use.row.id + 1);
  }
  std::vector<std::string> unknown = files_.list(folder_ / "segments");
  std::erase_if(unknown, [&](const std::string& name) { return known.contains(name); });
  retired_.clear();
  // A change that failed may have left a whole transaction in SQLite's log that nothing points to
  // yet. Overwrite it, and before its segment goes: a crash must not bring it back.
  catalog_->reserve_segments_below(next_segment_ + static_cast<int64_t>(unknown.size()));
  next_segment_ = catalog_->next_segment();
  for (const std::string& name : unknown) retired_.add(name, 0, generation_);
  retired_.remove_unneeded();
  has_failed_ = false;
}

/// Before the first file is touched. has_failed_ is set until the change is whole.
void BankWriter::start_change() {
  if (has_failed_) clean();
  has_failed_ = true;
}

BankWriter::Known BankWriter::knows(const Document& document) const {
  const auto is_same = catalog_->is_same(document);
  if (!is_same) return Known::kNo;
  return *is_same ? Known::kSame : Known::kOther;
}

std::vector<HeldDocument> BankWriter::held_documents(std::span<const Document> documents,
                                                     KnownName known) const {
  std::vector<HeldDocument> held;
  std::set<std::string_view> names;
  for (const Document& document : documents) {
    MSA_CHECK(names.insert(document.name).second, "the document \"", document.name,
              "\" is to be committed twice");
    auto found = catalog_->where_is(document.name);
    if (!found) continue;
    MSA_CHECK(known == KnownName::kReplace, "the document \"", document.name,
              "\" is in the bank already");
    held.push_back(*std::move(found));
  }
  return held;
}

std::vector<SegmentUse> BankWriter::uses_without(std::span<const HeldDocument> documents) const {
  std::vector<SegmentUse> uses = uses_;
  for (const HeldDocument& document : documents) {
    for (const Passage& passage : document.passages) {
      SegmentUse& use = use_of(uses, passage);
      --use.passages;
      use.chunks -= passage.chunks;
    }
  }
  return uses;
}

void BankWriter::commit(std::vector<Document> documents, const EncodedDocuments& encoded,
                        KnownName known) {
  expect_storable(encoded, facts_.shape);
  std::vector<int64_t> passage_ids;
  int64_t num_tokens = 0;
  int64_t num_chunks = 0;
  for (const Document& document : documents) {
    MSA_CHECK(!document.passages.empty(), "the document \"", document.name, "\" has no passage");
    for (const Passage& passage : document.passages) {
      const size_t place = passage_ids.size();
      const int64_t least = place == 0 ? next_passage_id_ : passage_ids.back() + 1;
      MSA_CHECK(passage.id >= least, "passage ids must rise from ", next_passage_id_, ", got ",
                passage.id, " where ", least, " is the least");
      MSA_CHECK(place < encoded.num_chunks.size() && encoded.num_chunks[place] == passage.chunks,
                "passage ", passage.id, " has other chunks than were encoded");
      MSA_CHECK(passage.start >= 0 && passage.start <= passage.end && passage.tokens >= 0 &&
                    passage.end <= static_cast<int64_t>(document.text.size()),
                "passage ", passage.id, " is not within its document");
      passage_ids.push_back(passage.id);
      num_tokens += passage.tokens;
      num_chunks += passage.chunks;
    }
  }
  const auto num_passages = static_cast<int64_t>(passage_ids.size());
  MSA_CHECK(passage_ids.size() == encoded.num_chunks.size() && num_passages > 0,
            encoded.num_chunks.size(), " passages were encoded, ", num_passages,
            " are to be committed");
  const auto plan = [&] {
    CatalogChange change;
    change.deleted = held_documents(documents, known);
    std::vector<SegmentUse> after = uses_without(change.deleted);
    after.push_back({.row = {.file = {}, .passages = num_passages, .chunks = num_chunks},
                     .first_passage_id = passage_ids.front(),
                     .passages = num_passages,
                     .chunks = num_chunks});
    return std::pair(std::move(change), std::move(after));
  };
  if (has_failed_) clean();
  auto [change, after] = plan();
  if (!is_bounded(after)) {
    keep_up(/*most_groups=*/INT64_MAX);
    std::tie(change, after) = plan();
    // What this change itself makes idle is given back after it, unless something is in the way.
    const bool is_hindered = !upkeep_failure_.empty() || !is_bounded(uses_);
    if (is_hindered && !is_bounded(after)) refuse_more();
  }

  start_change();
  const int64_t id = next_segment_++;  // never used again, even if this commit fails
  const auto temporary = folder_ / "tmp" / segment_file_name(id);
  SegmentRow row = write_segment(files_, temporary, id, encoded, passage_ids, facts_);
  row.tokens = num_tokens;
  publish(temporary, row);
  after.back().row = row;
  change.segment = std::move(row);
  change.documents = std::move(documents);
  apply(std::move(change), std::move(after));
  next_passage_id_ = passage_ids.back() + 1;
  has_failed_ = false;
  keep_up(/*most_groups=*/1);
}

Forgotten BankWriter::forget(std::span<const std::string> names) {
  if (has_failed_) clean();
  Forgotten forgotten;
  CatalogChange change;
  for (const std::string& name : std::set(names.begin(), names.end())) {
    if (auto found = catalog_->where_is(name)) {
      change.deleted.push_back(*std::move(found));
    } else {
      forgotten.unknown.push_back(name);
    }
  }
  forgotten.documents = static_cast<int64_t>(change.deleted.size());
  if (change.deleted.empty()) return forgotten;
  std::vector<SegmentUse> after = uses_without(change.deleted);
  start_change();
  apply(std::move(change), std::move(after));
  has_failed_ = false;
  keep_up(/*most_groups=*/1);
  return forgotten;
}

Forgotten BankWriter::forget_where(const DocumentFilter& filter) {
  MSA_CHECK(!filter.is_empty(), "a filter without conditions would forget all documents");
  return forget(catalog_->names(filter));
}

void BankWriter::publish(const std::filesystem::path& temporary, const SegmentRow& row) {
  files_.rename(temporary, folder_ / "segments" / row.file);
  files_.sync_directory(folder_ / "segments");
}

/// Commits a change, after which segments are used so. Those without passages are dropped, and the
/// files of all that are no longer used retired.
void BankWriter::apply(CatalogChange change, std::vector<SegmentUse> after) {
  std::erase_if(after, [](const SegmentUse& use) { return use.passages == 0; });
  std::set<int64_t> used;
  for (const SegmentUse& use : after) used.insert(use.row.id);
  std::vector<SegmentUse> dropped;
  for (const SegmentUse& use : uses_) {
    if (used.contains(use.row.id)) continue;
    dropped.push_back(use);
    change.dropped.push_back(use.row.id);
  }
  const auto added = change.segment ? change.segment->id : 0;
  generation_ = catalog_->apply(std::move(change));
  uses_ = std::move(after);
  for (SegmentUse& use : uses_) {
    if (use.row.id == added) use.since = generation_;
  }
  for (const SegmentUse& use : dropped) retired_.add(use.row.file, use.since, generation_);
  retired_.remove_unneeded();
}

}  // namespace msa::memory
