#include <algorithm>
#include <charconv>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_check.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/encrypted_files.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

bool is_segment_name(const std::string& name) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  return error == std::errc() && number > 0 && name == segment_file_name(number);
}

class Verification {
 public:
  Verification(FileSystem& files, std::filesystem::path folder)
      : files_(files), folder_(std::move(folder)) {}

  BankCheck run() {
    const auto lock = GenerationLock::hold_all(folder_ / Bank::kReadersFile);
    const std::vector<std::string> present = list_segments();
    try {
      catalog_ = Catalog::open(files_, folder_, storage::Database::Mode::kRead)->check();
      problems_ = std::move(catalog_.problems);
    } catch (const Error& error) {
      report(folder_ / Catalog::kFile, -1, "", error.what());
    }
    for (const SegmentRow& row : catalog_.segments) {
      SegmentCheck check = check_segment(files_, folder_, catalog_, row);
      std::ranges::move(check.problems, std::back_inserter(problems_));
      damaged_documents_.merge(check.damaged_documents);
    }
    check_others(present);
    return {.problems = std::move(problems_), .undamaged = undamaged()};
  }

 private:
  /// Nothing if it cannot be told what the bank is.
  std::optional<CatalogSnapshot> undamaged() {
    if (!catalog_.facts) return std::nullopt;
    CatalogSnapshot state{.facts = *catalog_.facts,
                          .format = catalog_.format,
                          .generation = catalog_.generation,
                          .next_passage_id = catalog_.next_passage_id,
                          .segments = std::move(catalog_.segments),
                          .passages = std::move(catalog_.passages)};
    std::ranges::sort(state.passages, {}, &Passage::id);
    std::set<int64_t> segments;
    for (const SegmentRow& row : state.segments) segments.insert(row.id);
    for (const Passage& passage : state.passages) {
      if (!segments.contains(passage.segment)) damaged_documents_.insert(passage.document);
    }
    damaged_documents_.merge(catalog_.damaged_documents);
    state.keep([&](const Passage& passage) {
      return catalog_.names.contains(passage.document) &&
             !damaged_documents_.contains(passage.document);
    });
    return state;
  }

  std::vector<std::string> list_segments() {
    try {
      return files_.list(folder_ / "segments");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kNotFound) throw;
      return {};
    }
  }

  void report(const std::filesystem::path& file, int64_t offset, std::string document,
              std::string what) {
    problems_.push_back({file.string(), offset, std::move(document), std::move(what)});
  }

  /// Files that no good row names. Where the catalog's rows are not all there, they may be those of
  /// a damaged one, and are checked against their own digests.
  void check_others(const std::vector<std::string>& present) {
    std::set<std::string> known;
    for (const SegmentRow& row : catalog_.segments) known.insert(row.file);
    const std::string last = catalog_.segments.empty() ? "" : catalog_.segments.back().file;
    for (const std::string& name : present) {
      if (known.contains(name)) continue;
      const auto path = folder_ / "segments" / name;
      if (!catalog_.has_all_segments) {
        check_by_itself(path);
        continue;
      }
      // A number above the catalog's may be of a commit that is under way or was interrupted, and
      // where segments may be dropped any number of one that readers held.
      const bool is_above = std::pair(name.size(), name) > std::pair(last.size(), last);
      if (!is_above && !(catalog_.may_hold_dead && is_segment_name(name)))
        report(path, -1, "", "the catalog does not know this file");
    }
  }

  void check_by_itself(const std::filesystem::path& path) {
    std::string names;
    for (const SegmentRow& row : catalog_.damaged_segments) {
      if (path.filename() != row.file && path.filename() != segment_file_name(row.id)) continue;
      names = names_of(catalog_, passages_in(catalog_.passages, row.id));
    }
    try {
      const uint64_t size = files_.open_to_read(path)->size();
      for (const auto& [offset, what] :
           storage::find_segment_damage(files_, path, size, std::nullopt)) {
        report(path, static_cast<int64_t>(offset), names, what);
      }
    } catch (const Error& error) {
      // A writer that opens removes what an interrupted commit left.
      if (error.code() != ErrorCode::kNotFound) report(path, -1, names, error.what());
    }
  }

  FileSystem& files_;
  std::filesystem::path folder_;
  CatalogCheck catalog_;
  std::vector<BankProblem> problems_;
  std::set<int64_t> damaged_documents_;  // rows
};

}  // namespace

BankCheck check_bank(FileSystem& files, const std::filesystem::path& folder) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  storage::expect_key_fits(files, folder);
  return Verification(files, folder).run();
}

std::vector<BankProblem> verify_bank(FileSystem& files, const std::filesystem::path& folder) {
  return check_bank(files, folder).problems;
}

}  // namespace msa::memory
