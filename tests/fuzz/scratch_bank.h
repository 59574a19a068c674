#pragma once
// The folder of a bank whose catalog is written anew for every input; segments are those of a bank
// in tests/data.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/memory/bank.h"
#include "msa/memory/catalog.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

namespace msa::fuzz {

class ScratchBank {
 public:
  ScratchBank() : scratch_("bank") {
    std::filesystem::copy(golden() / "segments", folder() / "segments");
  }

  static std::filesystem::path golden() { return source_folder() / "tests/data/bank_format_3"; }

  const std::filesystem::path& folder() const { return scratch_.path(); }
  std::filesystem::path catalog() const { return folder() / memory::Catalog::kFile; }

  void remove_catalog() const {
    for (const char* end : {"", "-wal", "-shm", "-journal"}) {
      std::remove((catalog().string() + end).c_str());
    }
  }

  /// Reads all that a reader of the bank can ask for. True if it was taken for a good bank.
  bool read() const {
    using memory::Catalog;
    const auto mode = storage::Database::Mode::kRead;
    const std::string name = folder().string();
    bool is_within = true;
    bool is_good = accepts(name, [&] {
      const auto catalog = Catalog::open(real_file_system(), folder(), mode);
      const memory::CatalogSnapshot snapshot = catalog->snapshot();
      for (const memory::Passage& passage : snapshot.passages) {
        const auto document = catalog->find(passage.document);
        const auto size = static_cast<int64_t>(document ? document->text.size() : 0);
        is_within &= 0 <= passage.start && passage.start <= passage.end && passage.end <= size;
        if (document) catalog->where_is(document->name);
      }
      catalog->next_segment();
      check_uses(catalog->segment_uses(), snapshot.passages);
    });
    accepts(name, [&] {
      const auto problems = memory::verify_bank(real_file_system(), folder());
      expect(is_good || !problems.empty(), "a bank that cannot be read has no problem");
      is_good &= problems.empty();
    });
    expect(!is_good || is_within, "a good bank has a passage outside of its document");
    return is_good;
  }

 private:
  /// Each passage counts for its own segment.
  static void check_uses(const std::vector<memory::SegmentUse>& uses,
                         const std::vector<memory::Passage>& passages) {
    std::map<int64_t, std::pair<int64_t, int64_t>> held;  // passages and chunks by segment
    for (const memory::Passage& passage : passages) {
      ++held[passage.segment].first;
      held[passage.segment].second += passage.chunks;
    }
    expect(held.size() == uses.size(), "passages of a segment that is not there");
    for (const memory::SegmentUse& use : uses) {
      expect(held[use.row.id] == std::pair(use.passages, use.chunks),
             "passages counted for another segment");
    }
  }

  ScratchFolder scratch_;
};

}  // namespace msa::fuzz
