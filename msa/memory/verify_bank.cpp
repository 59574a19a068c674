#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

constexpr size_t kMaxNames = 20;  // of documents in one problem

/// Passages whose keys, scales or content lie in the digest block at `offset`; all of the segment's
/// if the block holds what belongs to every passage.
std::vector<Passage> passages_in_block(const storage::SegmentFile& segment, const BankFacts& facts,
                                       std::span<const Passage> passages, int64_t num_chunks,
                                       uint64_t offset) {
  const auto block_first = static_cast<int64_t>(offset);
  const int64_t block_end = block_first + static_cast<int64_t>(storage::kDigestBlockBytes);
  const auto place_of = [&](const char* name) {
    return static_cast<int64_t>(segment.tensor(name).offset);
  };
  const bool has_scales = facts.key_type == kernels::NumberType::kInt8;
  const int64_t keys = place_of(kRoutingKeyTensor);
  const int64_t scales = has_scales ? place_of(kRoutingScaleTensor) : keys;
  const int64_t content = place_of(kContentTensor);
  if (block_first < std::min(scales, keys)) return {passages.begin(), passages.end()};
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t key_bytes = facts.shape.key_dim() * kernels::bytes_of(facts.key_type);
  const int64_t record_bytes = num_layers * content_chunk_bytes(facts);
  const auto touches = [&](int64_t start, int64_t chunk, int64_t count, int64_t bytes) {
    return start + chunk * bytes < block_end && start + (chunk + count) * bytes > block_first;
  };
  std::vector<Passage> hit;
  int64_t chunk = 0;
  for (const Passage& passage : passages) {
    bool is_hit = touches(content, chunk, passage.chunks, record_bytes);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      const int64_t row = layer * num_chunks + chunk;
      is_hit |= touches(keys, row, passage.chunks, key_bytes);
      is_hit |= has_scales && touches(scales, row, passage.chunks, sizeof(float));
    }
    if (is_hit) hit.push_back(passage);
    chunk += passage.chunks;
  }
  return hit;
}

class Verification {
 public:
  Verification(FileSystem& files, std::filesystem::path folder)
      : files_(files), folder_(std::move(folder)) {}

  std::vector<BankProblem> run() {
    const auto present = files_.list(folder_ / "segments");
    try {
      check_catalog();
    } catch (const Error& error) {
      report(folder_ / Catalog::kFile, -1, "", error.what());
      return std::move(problems_);
    }
    for (const SegmentRow& row : segments_) check_segment(row);
    check_unknown(present);
    return std::move(problems_);
  }

 private:
  void report(const std::filesystem::path& file, int64_t offset, std::string document,
              std::string what) {
    problems_.push_back({file.string(), offset, std::move(document), std::move(what)});
  }

  /// Leaves facts, segments and passages only if all of them can be used.
  void check_catalog() {
    const auto catalog = Catalog::open(folder_, storage::Database::Mode::kRead);
    problems_ = catalog->problems();
    facts_ = catalog->facts();
    segments_ = catalog->segments();
    passages_ = catalog->passages();
    // Commits that came after the segments were read are left for the next time.
    const int64_t last = segments_.empty() ? 0 : segments_.back().id;
    std::erase_if(passages_, [&](const Passage& passage) { return passage.segment > last; });
    const auto path = folder_ / Catalog::kFile;
    if (!std::ranges::is_sorted(passages_, {}, &Passage::segment)) {
      report(path, -1, "", "passage ids do not rise from segment to segment");
      std::ranges::stable_sort(passages_, {}, &Passage::segment);
    }
    if (!passages_.empty() && catalog->next_passage_id() <= passages_.back().id) {
      report(path, -1, "", "the next passage id is in use");
    }
    constexpr int64_t kPage = 1024;
    for (int64_t offset = 0;; offset += kPage) {
      const auto page = catalog->list(offset, kPage);
      for (const Document& document : page) {
        names_[document.row] = document.name;
        if (document.passages.empty()) report(path, -1, document.name, "it has no passage");
      }
      if (page.size() < kPage) break;
    }
  }

  std::string names_of(std::span<const Passage> passages) const {
    std::vector<std::string> names;
    int64_t last = -1;
    for (const Passage& passage : passages) {
      if (passage.document == last) continue;
      last = passage.document;
      const auto name = names_.find(passage.document);
      if (name != names_.end()) names.push_back(name->second);
    }
    std::string joined;
    for (size_t i = 0; i < std::min(names.size(), kMaxNames); ++i) {
      joined += (i == 0 ? "" : ", ") + names[i];
    }
    if (names.size() > kMaxNames) {
      joined += " and " + std::to_string(names.size() - kMaxNames) + " more";
    }
    return joined;
  }

  void check_segment(const SegmentRow& row) {
    const auto path = folder_ / "segments" / row.file;
    const auto passages = passages_in(passages_, row.id);
    std::unique_ptr<storage::SegmentFile> segment;
    try {
      segment =
          storage::SegmentFile::open(files_, path, static_cast<uint64_t>(row.bytes), row.digest);
      const auto damaged = segment->damaged_blocks();
      for (const uint64_t offset : damaged) {
        const auto hit = passages_in_block(*segment, facts_, passages, row.chunks, offset);
        report(path, static_cast<int64_t>(offset), names_of(hit),
               "the block of 256 KiB from here is damaged");
      }
      if (damaged.empty()) expect_segment(*segment, facts_, row, passages);
    } catch (const Error& error) {
      report(path, 0, names_of(passages), error.what());
    }
  }

  /// A number above the catalog's may be of a commit that is under way or was interrupted.
  void check_unknown(const std::vector<std::string>& present) {
    std::set<std::string> known;
    for (const SegmentRow& row : segments_) known.insert(row.file);
    const std::string last = segments_.empty() ? "" : segments_.back().file;
    for (const std::string& name : present) {
      const bool is_above = std::pair(name.size(), name) > std::pair(last.size(), last);
      if (known.contains(name) || is_above) continue;
      report(folder_ / "segments" / name, -1, "", "the catalog does not know this file");
    }
  }

  FileSystem& files_;
  std::filesystem::path folder_;
  BankFacts facts_;
  std::vector<SegmentRow> segments_;
  std::vector<Passage> passages_;
  std::map<int64_t, std::string> names_;  // of documents
  std::vector<BankProblem> problems_;
};

}  // namespace

std::vector<BankProblem> verify_bank(FileSystem& files, const std::filesystem::path& folder) {
  if (!files.exists(folder / Catalog::kFile)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string(), ": it has no ",
                Catalog::kFile);
  }
  return Verification(files, folder).run();
}

}  // namespace msa::memory
