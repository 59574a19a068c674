// Compaction where something is in its way: readers, no room, damage, a disk that fails.

#include <functional>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/file_damage.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

class CompactionFaultsTest : public BankTest {
 protected:
  std::unique_ptr<BankWriter> writer_of(FileSystem& files, const CompactionPolicy& policy) const {
    return BankWriter::open(files, folder(), facts(), policy);
  }
  void put(BankWriter& writer, const std::vector<std::string>& names) {
    const auto documents = BankOracle::make(kShape, names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
    oracle_.put(documents);
  }
  void forget(BankWriter& writer, const std::vector<std::string>& names) {
    writer.forget(names);
    for (const std::string& name : names) oracle_.erase(name);
  }
  static std::vector<std::string> names(const std::string& stem, int first, int end) {
    std::vector<std::string> all;
    for (int n = first; n < end; ++n) all.push_back(stem + std::to_string(n));
    return all;
  }
  /// The middle of a segment is other bytes.
  void damage(int64_t id) const {
    flip(segment(id), static_cast<int64_t>(std::filesystem::file_size(segment(id))) / 2, 3);
  }
  static std::string expect_refused(ErrorCode code, const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return {};
  }
  void expect_as_it_should_be() const {
    EXPECT_TRUE(verify().empty());
    oracle_.expect_equal(*open(), folder().string() + ".fresh");
  }

  BankOracle oracle_;
};

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(CompactionFaultsTest, ABankWhoseDeadFilesReadersHoldTakesNothingMoreUntilTheyAreGone) {
  const auto writer = writer_of(real_file_system(), {.spare_bytes = 0});
  put(*writer, names("a", 0, 10));
  auto reader = open();
  const auto source = reader->source();
  forget(*writer, names("a", 0, 9));  // upkeep writes the last one anew
  const std::string refusal = expect_refused(ErrorCode::kLimit, [&] { put(*writer, {"new"}); });
  EXPECT_TRUE(holds(refusal, "bytes of it are held by readers of old states")) << refusal;
  expect_as_it_should_be();
  EXPECT_EQ(source->num_documents(), static_cast<int64_t>(reader->passages().size()));
}

TEST_F(CompactionFaultsTest, AnUpkeepThatFailsIsInTheWayOnlyWhileTooMuchLiesIdle) {
  bool is_failing = false;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    const bool is_segment = path.parent_path().filename() == "segments";
    if (is_failing && is_segment && call == "open") throw Error(ErrorCode::kIo, "broken (test)");
  });
  const auto writer = writer_of(files, {.spare_bytes = 0});
  put(*writer, names("a", 0, 10));
  put(*writer, names("b", 0, 6));
  auto reader = open();
  auto source = reader->source();
  forget(*writer, names("a", 0, 9));
  is_failing = true;
  forget(*writer, names("b", 0, 4));
  const std::string refusal = expect_refused(ErrorCode::kLimit, [&] { put(*writer, {"c"}); });
  EXPECT_TRUE(holds(refusal, "compaction fails: broken (test)")) << refusal;
  // The files that the reader held go, and what upkeep cannot do is no longer too much.
  source.reset();
  reader.reset();
  put(*writer, {"c"});
  expect_as_it_should_be();
}

TEST_F(CompactionFaultsTest, UpkeepLooksForRoomFirst) {
  class Small final : public ObservedFileSystem {
   public:
    using ObservedFileSystem::ObservedFileSystem;
    uint64_t free_bytes(const std::filesystem::path&) override { return room; }
    uint64_t room = UINT64_MAX;
  };
  Small files([](std::string_view, const std::filesystem::path&) {});
  const auto writer = writer_of(files, {.spare_bytes = 1});
  put(*writer, names("a", 0, 10));
  files.room = 0;
  forget(*writer, names("a", 0, 9));
  EXPECT_TRUE(std::filesystem::exists(segment(1))) << "it was not written anew";
  const std::string refusal = expect_refused(ErrorCode::kLimit, [&] { put(*writer, {"new"}); });
  EXPECT_TRUE(holds(refusal, "compaction needs")) << refusal;
  EXPECT_TRUE(holds(refusal, "bytes of room")) << refusal;
  files.room = UINT64_MAX;
  put(*writer, {"new"});
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  expect_as_it_should_be();
}

TEST_F(CompactionFaultsTest, OfManyDamagedSegmentsOneIsNamedAndTheOthersAreCompacted) {
  const auto writer = writer_of(real_file_system(), {.max_segment_bytes = 1});
  for (int n = 0; n < 3; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  put(*writer, names("c", 0, 8));  // too much is alive for upkeep
  forget(*writer, names("a", 0, 3));
  damage(1);
  damage(3);
  const std::string told = expect_refused(ErrorCode::kCorruption, [&] { writer->compact(); });
  EXPECT_TRUE(holds(told, "000003.msa")) << told;
  EXPECT_TRUE(std::filesystem::exists(segment(1)));
  EXPECT_FALSE(std::filesystem::exists(segment(2)));
  EXPECT_TRUE(std::filesystem::exists(segment(3)));
  EXPECT_EQ(verify().size(), 2U);
}

TEST_F(CompactionFaultsTest, ADiskThatFailsBesideDamageIsTold) {
  int num_created = 0;
  int failing = -1;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (call != "create" || path.parent_path().filename() != "tmp") return;
    if (++num_created == failing) throw Error(ErrorCode::kIo, "broken (test)");
  });
  const auto writer = writer_of(files, {});
  for (int n = 0; n < 3; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  put(*writer, names("c", 0, 8));
  forget(*writer, names("a", 0, 3));
  damage(2);
  num_created = 0;
  failing = 2;  // of all of them at once; then of each by itself
  const std::string told = expect_refused(ErrorCode::kIo, [&] { writer->compact(); });
  EXPECT_TRUE(holds(told, "broken (test)")) << told;
  failing = -1;
  const std::string again = expect_refused(ErrorCode::kCorruption, [&] { writer->compact(); });
  EXPECT_TRUE(holds(again, "000002.msa")) << again;
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  forget(*writer, {"b1"});
  expect_as_it_should_be();
}

TEST_F(CompactionFaultsTest, AfterAChangeThatFailedCompactionCleansUpFirst) {
  bool is_failing = false;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    const bool is_new = path.parent_path().filename() == "tmp";
    if (is_failing && is_new && call == "sync") throw Error(ErrorCode::kIo, "broken (test)");
  });
  const auto writer = writer_of(files, {});
  put(*writer, {"a", "b"});
  put(*writer, {"c", "d"});
  is_failing = true;
  EXPECT_EQ(expect_refused(ErrorCode::kIo, [&] { put(*writer, {"e"}); }), "broken (test)");
  EXPECT_FALSE(std::filesystem::is_empty(folder() / "tmp"));
  is_failing = false;
  writer->compact();
  EXPECT_TRUE(std::filesystem::is_empty(folder() / "tmp"));
  EXPECT_EQ(open()->stats().segments, 1);
  expect_as_it_should_be();
}

TEST_F(CompactionFaultsTest, APurgeDoesWhatDamageAndReadersLetItAndTellsOfTheDamage) {
  const auto writer = writer_of(real_file_system(), {.max_segment_bytes = 1});
  for (int n = 0; n < 2; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  put(*writer, names("c", 0, 8));
  forget(*writer, names("a", 0, 2));
  damage(1);
  {
    const storage::Database database(catalog(), storage::Database::Mode::kRead);
    auto rows = database.prepare("SELECT id FROM documents");
    ASSERT_TRUE(rows.next());
    const std::string told = expect_refused(ErrorCode::kCorruption, [&] { writer->compact(true); });
    EXPECT_TRUE(holds(told, "000001.msa")) << told;
  }
  EXPECT_FALSE(std::filesystem::exists(segment(2)));
  const std::string told = expect_refused(ErrorCode::kCorruption, [&] { writer->compact(true); });
  EXPECT_TRUE(holds(told, "000001.msa")) << told;
  EXPECT_EQ(std::filesystem::file_size(catalog().string() + "-wal"), 0U) << "all else is purged";
  forget(*writer, {"b0"});
  writer->compact(true);
  expect_as_it_should_be();
}

TEST_F(CompactionFaultsTest, APurgeWithoutRoomSaysSo) {
  bool is_full = false;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    const bool is_new = path.parent_path().filename() == "tmp";
    if (is_full && is_new && call == "append") throw Error(ErrorCode::kNoSpace, "full (test)");
  });
  const auto writer = writer_of(files, {});
  put(*writer, names("a", 0, 4));
  put(*writer, names("c", 0, 8));
  forget(*writer, {"a0"});
  is_full = true;
  EXPECT_EQ(expect_refused(ErrorCode::kNoSpace, [&] { writer->compact(true); }), "full (test)");
  is_full = false;
  writer->compact(true);
  expect_as_it_should_be();
}

}  // namespace
}  // namespace msa::memory
