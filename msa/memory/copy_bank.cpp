#include "msa/memory/copy_bank.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/base/generation_lock.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_check.h"
#include "msa/storage/encrypted_files.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

namespace fs = std::filesystem;
using storage::Database;

constexpr const char* kKeyFile = storage::EncryptedFiles::kFile;
constexpr uint64_t kMaxKeyFileBytes = 4096;
constexpr uint64_t kShareOfTags = 512;  // what encryption adds to files is less

bool is_within(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

void expect_apart(const fs::path& from, const fs::path& to) {
  const auto real = [](const fs::path& path) {
    auto place = fs::weakly_canonical(fs::absolute(path / ""));
    return place.has_filename() ? place : place.parent_path();
  };
  MSA_CHECK(!is_within(real(to), real(from)) && !is_within(real(from), real(to)), to.string(),
            " is no place for a copy of ", from.string(), ": one is within the other");
}

/// The first of them, as an error of the bank in `folder`.
[[noreturn]] void throw_damage(const std::vector<BankProblem>& problems, const std::string& file) {
  const BankProblem& first = problems.front();
  const size_t others = problems.size() - 1;
  throw Error(ErrorCode::kCorruption, file,
              first.offset < 0 ? "" : " at byte " + std::to_string(first.offset), ": ", first.what,
              first.document.empty() ? "" : "; documents: ", first.document,
              others == 0 ? "" : "; and " + std::to_string(others) + " problems more",
              "; a damaged bank is not copied");
}

enum class Purpose { kBackup, kRestoration };

class Copying {
 public:
  Copying(FileSystem& files, fs::path from, fs::path to, Purpose purpose)
      : files_(files), from_(std::move(from)), to_(std::move(to)), purpose_(purpose) {}

  BankCopy run() {
    if (!files_.exists(from_ / Catalog::kFile)) {
      throw Error(ErrorCode::kNotFound, "there is no bank at ", from_.string(), ": it has no ",
                  Catalog::kFile);
    }
    expect_apart(from_, to_);
    storage::expect_key_fits(files_, from_);
    // All is held until it is known what is needed: a writer may be retiring files now.
    kept_ = GenerationLock::hold_all(from_ / Bank::kReadersFile);
    auto source = Catalog::open(files_, from_, Database::Mode::kRead);
    facts_ = source->facts();
    open_target(*source);
    try {
      expect_room(*source);
      read_state(*source);
      source.reset();  // its log is free again
      for (const SegmentRow& row : state_.segments) copy(row);
      files_.sync_directory(to_ / "segments");
      publish();
    } catch (const Error& error) {
      clean_after(error);
      throw;
    }
    remove_unneeded();
    return done_;
  }

 private:
  bool is_target_a_bank() const { return files_.exists(to_ / Catalog::kFile); }
  fs::path new_catalog() const { return to_ / "tmp" / Catalog::kFile; }

  /// Throws unless the folder is empty, a backup, or what an interrupted copy left.
  void expect_ours() const {
    if (!files_.exists(to_)) return;
    if (!fs::is_directory(to_)) {
      throw Error(ErrorCode::kInvalidFormat, to_.string(), " is no folder");
    }
    const bool is_marked = files_.exists(to_ / Bank::kBackupFile);
    if (is_target_a_bank()) {
      MSA_CHECK(purpose_ == Purpose::kBackup, to_.string(), " is there: it is a bank");
      if (is_marked) return;
      throw Error(
          ErrorCode::kInvalidFormat, to_.string(),
          " is a bank of its own, not a backup: a backup would undo what was written to it");
    }
    if (is_marked) return;
    const std::set<std::string> own{"LOCK", Bank::kReadersFile, "segments", "tmp"};
    for (const std::string& name : files_.list(to_)) {
      const bool is_empty = name != "segments" || files_.list(to_ / name).empty();
      if ((own.contains(name) && is_empty) || name.starts_with(kKeyFile)) continue;
      throw Error(ErrorCode::kInvalidFormat, to_.string(),
                  " is neither a backup nor empty: it holds ", name);
    }
  }

  /// What is there may go only if the bank has gone on from it.
  void expect_earlier_state(const Catalog& source) const {
    const auto old = Catalog::open(files_, to_, Database::Mode::kRead);
    const std::string what = "the backup " + to_.string();
    expect_equal(old->facts(), facts_, what);
    const auto refuse = [&](const std::string& why) {
      throw Error(ErrorCode::kMismatch, what, " ", why, ", not of an earlier state of ",
                  from_.string());
    };
    if (old->bank_id() != source.bank_id()) refuse("is of another bank");
    if (old->generation() > source.generation() ||
        old->next_passage_id() > source.next_passage_id() ||
        old->next_segment() > source.next_segment()) {
      refuse("is of a later state or of another bank");
    }
    const std::vector<SegmentRow> rows = source.segments();
    for (const SegmentRow& row : old->segments()) {
      const auto same = std::ranges::lower_bound(rows, row.id, {}, &SegmentRow::id);
      if (same != rows.end() && same->id == row.id && same->digest != row.digest) {
        refuse("has another segment " + row.file);
      }
    }
  }

  void open_target(const Catalog& source) {
    expect_ours();
    files_.create_directory(to_);
    files_.sync_directory(fs::absolute(to_ / "").parent_path().parent_path());
    lock_ = FileLock::acquire(to_ / "LOCK");
    expect_ours();
    expect_same_key();
    if (is_target_a_bank()) expect_earlier_state(source);
    // The mark comes first: without it nobody would know whose segments these are.
    if (!files_.exists(to_ / Bank::kBackupFile)) files_.create(to_ / Bank::kBackupFile)->sync();
    copy_key_file();
    files_.create_directory(to_ / "segments");
    files_.create_directory(to_ / "tmp");
    files_.sync_directory(to_);
    GenerationLock::hold_all(to_ / Bank::kReadersFile);  // made, as a writer does
    empty_tmp();
  }

  /// Empty if the folder is not encrypted.
  std::string read_key_file(const fs::path& folder) const {
    return files_.exists(folder / kKeyFile) ? read_file(files_, folder / kKeyFile, kMaxKeyFileBytes)
                                            : std::string();
  }

  /// A copy is encrypted as the bank is, and opened by the same key.
  void expect_same_key() const {
    const std::string held = read_key_file(to_);
    if (held == read_key_file(from_) || (held.empty() && !is_target_a_bank())) return;
    throw Error(ErrorCode::kMismatch, to_.string(), " is not encrypted as ", from_.string());
  }

  void copy_key_file() {
    const std::string wanted = read_key_file(from_);
    if (wanted.empty() || files_.exists(to_ / kKeyFile)) return;
    write_file_atomically(files_, to_ / kKeyFile, std::as_bytes(std::span(wanted)));
  }

  /// 0 if it is not there.
  uint64_t size_of(const fs::path& path) const {
    try {
      return files_.exists(path) ? files_.open_to_read(path)->size() : 0;
    } catch (const Error&) {
      return 0;
    }
  }

  void empty_tmp() {
    for (const std::string& name : files_.list(to_ / "tmp")) files_.remove(to_ / "tmp" / name);
  }

  /// By what the source holds now; what is copied may be a commit more.
  void expect_room(const Catalog& source) const {
    const auto catalog = (from_ / Catalog::kFile).string();
    uint64_t needed = size_of(catalog) + size_of(catalog + "-wal");
    for (const SegmentRow& row : source.segments()) {
      const auto num_bytes = static_cast<uint64_t>(row.bytes);
      if (size_of(to_ / "segments" / row.file) != num_bytes) needed += num_bytes;
    }
    if (files_.database_vfs() != nullptr) needed += needed / kShareOfTags;
    if (const uint64_t free = files_.free_bytes(to_); free < needed) {
      throw Error(ErrorCode::kNoSpace, to_.string(), ": the copy needs ", needed, " bytes, ", free,
                  " are free");
    }
  }

  /// The state that is copied is that of the catalog's copy.
  void read_state(const Catalog& source) {
    files_.create(new_catalog());  // SQLite keeps the mode of a file that exists
    source.copy_to(new_catalog());
    {
      const auto copy = Catalog::open(files_, to_ / "tmp", Database::Mode::kRead);
      state_ = copy->check();
      if (state_.failure) throw Error(*state_.failure);
      if (!state_.problems.empty()) {
        throw_damage(state_.problems, (from_ / Catalog::kFile).string());
      }
      generation_ = copy->generation();
      if (kept_) kept_->narrow_to(generation_);
    }
    files_.open_to_read(new_catalog())->sync();
    done_.documents = static_cast<int64_t>(state_.names.size());
    done_.segments = static_cast<int64_t>(state_.segments.size());
    done_.copied_bytes = done_.bytes = static_cast<int64_t>(size_of(new_catalog()));
  }

  bool is_there(const SegmentRow& row) const {
    try {
      expect_tables(files_, to_, state_, row);
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound && error.code() != ErrorCode::kCorruption) throw;
      return false;
    }
  }

  void copy(const SegmentRow& row) {
    done_.bytes += row.bytes;
    if (is_there(row)) return;
    try {
      const auto temporary = to_ / "tmp" / row.file;
      storage::copy_segment(files_, from_ / "segments" / row.file, temporary,
                            static_cast<uint64_t>(row.bytes), row.digest);
      const auto place = to_ / "segments" / row.file;
      const bool is_new = !files_.exists(place);
      files_.rename(temporary, place);
      if (is_new) added_.push_back(place);
      expect_tables(files_, to_, state_, row);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kCorruption && error.code() != ErrorCode::kNotFound) throw;
      const auto problems = check_segment(files_, from_, state_, row).problems;
      if (problems.empty()) throw;  // it was not the bank's
      throw_damage(problems, problems.front().file);
    }
    done_.copied_bytes += row.bytes;
    ++done_.copied_segments;
  }

  /// Readers may have the earlier catalog open: SQLite replaces it, as a writer would.
  void publish() {
    is_publishing_ = true;
    if (is_target_a_bank()) {
      Catalog::open(files_, to_, Database::Mode::kWrite)->replace_with(new_catalog());
      return;
    }
    files_.rename(new_catalog(), to_ / Catalog::kFile);
    files_.sync_directory(to_);
    if (purpose_ == Purpose::kBackup) return;
    files_.remove(to_ / Bank::kBackupFile);
    files_.sync_directory(to_);
  }

  /// What was copied waits for the next copy, unless the room is wanted. A catalog that was on its
  /// way may come back after a crash, and needs its segments.
  void clean_after(const Error& error) {
    try {
      empty_tmp();
      if (error.code() != ErrorCode::kNoSpace || is_publishing_) return;
      for (const fs::path& place : added_) files_.remove(place);
    } catch (const Error&) {
      // Goes with the next copy.
    }
  }

  /// Segments that only earlier states name, unless readers of the copy hold these.
  void remove_unneeded() {
    std::set<std::string> known;
    for (const SegmentRow& row : state_.segments) known.insert(row.file);
    try {
      empty_tmp();
      if (GenerationLock::is_held(to_ / Bank::kReadersFile, 0, generation_)) return;
      for (const std::string& name : files_.list(to_ / "segments")) {
        if (known.contains(name)) continue;
        files_.remove(to_ / "segments" / name);
        ++done_.removed_files;
      }
    } catch (const Error&) {
      // The copy is made; what is left goes with the next one.
    }
  }

  FileSystem& files_;
  fs::path from_;
  fs::path to_;
  Purpose purpose_;
  std::unique_ptr<GenerationLock> kept_;  // of the source
  std::unique_ptr<FileLock> lock_;        // of the target
  BankFacts facts_;
  CatalogCheck state_;
  int64_t generation_ = 1;
  bool is_publishing_ = false;
  std::vector<fs::path> added_;  // segments that were not there
  BankCopy done_;
};

}  // namespace

BankCopy back_up_bank(FileSystem& files, const fs::path& bank, const fs::path& target) {
  return Copying(files, bank, target, Purpose::kBackup).run();
}

BankCopy restore_bank(FileSystem& files, const fs::path& backup, const fs::path& bank) {
  return Copying(files, backup, bank, Purpose::kRestoration).run();
}

}  // namespace msa::memory
