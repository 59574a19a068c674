#include <fstream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/file_damage.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

/// A bank with a segment of four documents, of which the first and third are deleted.
class BankWithDead : public BankTest {
 protected:
  void write_with_dead() {
    std::filesystem::remove_all(folder());
    const auto writer = open_writer();
    const RandomBatch batch = next_batch(*writer, 4, 1);
    for (const Document& document : batch.documents) names_.push_back(document.name);
    writer->commit(batch.documents, batch.encoded);
    commit(*writer, 9, 2);
    writer->forget(std::vector<std::string>{names_[0], names_[2]});
  }
  void change(const std::string& sql) const {
    const storage::Database database(catalog(), storage::Database::Mode::kWrite);
    database.execute("PRAGMA foreign_keys = OFF");
    database.execute(sql);
  }

  std::vector<std::string> names_;
};

TEST_F(BankWithDead, IsWholeAndDamageNamesOnlyWhatIsAlive) {
  write_with_dead();
  EXPECT_TRUE(verify().empty());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment(1)));
  for (int64_t offset = 0; offset < size - 16; offset += 7) {
    const Keep keep(segment(1));
    flip(segment(1), offset, 2);
    const auto problems = verify();
    ASSERT_EQ(problems.size(), 1U) << offset << ": dead records are checked too";
    EXPECT_EQ(problems[0].document, names_[1] + ", " + names_[3]);
  }
}

TEST_F(BankWithDead, RowsThatAreLostOrComeBackAreFound) {
  write_with_dead();
  const std::vector<std::string> changes{
      "DELETE FROM passages WHERE id = (SELECT max(id) FROM passages)",
      "DELETE FROM passages WHERE document = 2; DELETE FROM documents WHERE id = 2",
      "DELETE FROM documents WHERE id = 2",
      "DELETE FROM segments WHERE id = 1",
      "DELETE FROM facts WHERE key = 'passages'",
      "DELETE FROM facts WHERE key = 'documents'",
      "DELETE FROM facts WHERE key = 'generation'",
      "DELETE FROM facts WHERE key = 'next_document'",
      "UPDATE facts SET value = 12 WHERE key = 'documents'",
      "UPDATE facts SET value = 1 WHERE key = 'generation'"};
  for (const std::string& sql : changes) {
    const Keep keep(catalog());
    change(sql);
    EXPECT_FALSE(verify().empty()) << sql;
    if (!sql.starts_with("DELETE FROM documents")) {
      EXPECT_THROW(open()->source(), Error) << sql;
    } else {
      EXPECT_THROW(open()->list(0, 100), Error) << sql;
    }
  }
  EXPECT_TRUE(verify().empty());
}

TEST_F(BankWithDead, FilesThatMayBeHeldByReadersAreNoDamageAndOthersAre) {
  write_with_dead();
  std::filesystem::copy_file(segment(1), folder() / "segments" / "000009.msa");
  EXPECT_TRUE(verify().empty());
  for (const char* name : {"000000.msa", "4.msa", "note.txt"}) {
    const auto path = folder() / "segments" / name;
    std::ofstream(path) << "x";
    const auto found = verify();
    ASSERT_EQ(found.size(), 1U) << name;
    EXPECT_EQ(found[0].file, path.string());
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace msa::memory
