// What a check of the catalog says of its tables, its order and of pages that cannot be read.

#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/observed_file_system.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/catalog.h"
#include "msa/storage/database.h"
#include "msa/storage/failing_vfs.h"

namespace msa::memory {
namespace {

using storage::Database;
using storage::FailingVfs;

class CheckCatalogTest : public BankTest {
 protected:
  /// Changes columns of passages, their digests with them.
  void change_passages(const std::function<void(Passage&)>& change) const {
    const Database database(catalog(), Database::Mode::kWrite);
    for (Passage passage :
         Catalog::open(real_file_system(), folder(), Database::Mode::kRead)->passages()) {
      change(passage);
      database.prepare("UPDATE passages SET segment = ?, digest = ? WHERE id = ?")
          .bind(1, passage.segment)
          .bind(2, row_digest(passage))
          .bind(3, passage.id)
          .run();
    }
  }
  bool is_out_of_order() const {
    const auto problems = verify();
    return std::ranges::any_of(problems, [](const BankProblem& problem) {
      return problem.what == "passages of a segment stand between those of another one";
    });
  }
};

TEST_F(CheckCatalogTest, SegmentsRiseWithTheirPassagesWhereNothingWasDeleted) {
  write(3, 1);
  write(3, 1);  // of the same size
  ASSERT_EQ(open()->format(), 1);
  EXPECT_FALSE(is_out_of_order());
  change_passages([](Passage& passage) { passage.segment = 3 - passage.segment; });
  EXPECT_TRUE(is_out_of_order());
}

TEST_F(CheckCatalogTest, PassagesOfASegmentStandSideBySide) {
  for (const bool has_deleted : {false, true}) {
    std::filesystem::remove_all(folder());
    write(3, 1);
    write(3, 2);
    if (has_deleted) {
      const std::vector<std::string> names{open()->list(1, 1).at(0).name};
      open_writer()->forget(names);
    }
    EXPECT_EQ(open()->format(), has_deleted ? 3 : 1);
    EXPECT_FALSE(is_out_of_order());
    const int64_t last = open()->passages().back().id;
    change_passages([&](Passage& passage) {
      if (passage.id == last) passage.segment = 1;
    });
    EXPECT_TRUE(is_out_of_order());
  }
}

TEST_F(CheckCatalogTest, TablesThatAreWrittenWithOtherWhiteSpaceAreABanks) {
  write(3, 1);
  const auto rewrite = [&](const std::string& from, const std::string& to) {
    const Database database(catalog(), Database::Mode::kWrite);
    database.execute("PRAGMA writable_schema = ON");
    database.execute("UPDATE sqlite_schema SET sql = replace(sql, '" + from + "', '" + to + "')");
  };
  rewrite(", ", ",\n  ");
  EXPECT_TRUE(verify().empty());
  EXPECT_EQ(open()->stats().documents, 3);
  EXPECT_EQ(open_writer()->next_passage_id(), open()->passages().back().id + 1);
  rewrite("\n", "\t");
  EXPECT_FALSE(verify().empty()) << "white space is blanks and ends of lines";
}

/// A system's own files, and databases through a VFS that fails.
class FailingFiles final : public ObservedFileSystem {
 public:
  explicit FailingFiles(FailingVfs::Fault fault)
      : ObservedFileSystem([](std::string_view, const std::filesystem::path&) {}),
        vfs_(std::move(fault)) {}
  const char* database_vfs() const override { return vfs_.name(); }

 private:
  FailingVfs vfs_;
};

/// What a check says where reads of pages but the first fail with these results in turn, and then
/// succeed. All of them are first reads, by SQLite's own check.
class UnreadPages : public CheckCatalogTest {
 protected:
  CatalogCheck check(const std::vector<int>& results) const {
    size_t num_failed = 0;
    bool is_checking = false;
    FailingFiles files([&](const FailingVfs::Call& call) {
      const bool is_page = call.name == "read" && call.path == catalog() && call.offset >= 4096;
      return is_checking && is_page && num_failed < results.size() ? results[num_failed++]
                                                                   : SQLITE_OK;
    });
    const auto opened = Catalog::open(files, folder(), Database::Mode::kRead);
    is_checking = true;
    CatalogCheck check = opened->check();
    EXPECT_EQ(num_failed, results.size());
    return check;
  }
  static bool says(const CatalogCheck& check, int result) {
    return std::ranges::any_of(check.problems, [&](const BankProblem& problem) {
      return problem.what.find("error code=" + std::to_string(result)) != std::string::npos;
    });
  }
};

TEST_F(UnreadPages, AreAFailureOfTheDiskAndNoDamage) {
  write(60, 1);
  EXPECT_FALSE(check({}).failure);
  const CatalogCheck checked = check({SQLITE_IOERR_READ, SQLITE_IOERR_CORRUPTFS});
  EXPECT_TRUE(says(checked, SQLITE_IOERR_READ));
  EXPECT_TRUE(says(checked, SQLITE_IOERR_CORRUPTFS));
  ASSERT_TRUE(checked.failure);
  EXPECT_EQ(checked.failure->code(), ErrorCode::kIo);
}

TEST_F(UnreadPages, AreNoDamageBehindOneThatIs) {
  write(60, 1);
  const CatalogCheck checked = check({storage::kNotWhatWasSealed, SQLITE_IOERR_READ});
  EXPECT_TRUE(says(checked, SQLITE_IOERR_READ));
  ASSERT_TRUE(checked.failure);
  EXPECT_EQ(checked.failure->code(), ErrorCode::kIo);
}

TEST_F(UnreadPages, ThatWereNotSealedAreDamage) {
  write(60, 1);
  for (const int result : {storage::kNotWhatWasSealed, SQLITE_CORRUPT}) {
    const CatalogCheck checked = check({result});
    EXPECT_TRUE(says(checked, result));
    EXPECT_FALSE(checked.failure) << checked.failure->what();
  }
}

}  // namespace
}  // namespace msa::memory
