#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/file_damage.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

using kernels::ContentType;
using kernels::NumberType;

/// A bank and what it should hold.
class ChangeBankTest : public BankTest {
 protected:
  std::unique_ptr<BankWriter> writer_of(const BankFacts& facts,
                                        const CompactionPolicy& policy = {}) const {
    return BankWriter::open(real_file_system(), folder(), facts, policy);
  }
  void put(BankWriter& writer, const std::vector<std::string>& names) {
    const auto documents = BankOracle::make(kShape, names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
    oracle_.put(documents);
  }
  Forgotten forget(BankWriter& writer, const std::vector<std::string>& names) {
    for (const std::string& name : names) oracle_.erase(name);
    return writer.forget(names);
  }
  void expect_as_it_should_be() const {
    EXPECT_TRUE(verify().empty());
    oracle_.expect_equal(*open(), folder().string() + ".fresh");
  }
  int64_t num_files() const {
    return static_cast<int64_t>(real_file_system().list(folder() / "segments").size());
  }

  BankOracle oracle_;
};

TEST_F(ChangeBankTest, AForgottenDocumentIsGoneAtOnceAndTheRestIsAsItWas) {
  const auto writer = open_writer();
  put(*writer, {"a", "b", "c"});
  put(*writer, {"d", "e"});
  const std::string before = std::to_string(open()->format());
  EXPECT_EQ(before, "1");
  const Forgotten forgotten = forget(*writer, {"b", "nobody", "b"});
  EXPECT_EQ(forgotten.documents, 1);
  EXPECT_EQ(forgotten.unknown, std::vector<std::string>{"nobody"});
  EXPECT_FALSE(open()->find("b"));
  EXPECT_EQ(open()->format(), 3);
  EXPECT_FALSE(writer->holds("b"));
  expect_as_it_should_be();
  EXPECT_GT(open()->stats().dead_bytes, 0);
}

TEST_F(ChangeBankTest, NothingForgottenChangesNothing) {
  const auto writer = open_writer();
  put(*writer, {"a"});
  EXPECT_EQ(writer->forget(std::vector<std::string>{"x", "y"}).documents, 0);
  EXPECT_EQ(open()->format(), 1);
  EXPECT_EQ(writer->forget({}).documents, 0);
}

TEST_F(ChangeBankTest, AReplacedDocumentHasNewPassagesAndIsNeverThereTwice) {
  const auto writer = open_writer();
  put(*writer, {"a", "b"});
  const int64_t old_id = open()->find("a")->passages.front().id;
  put(*writer, {"a", "new"});
  EXPECT_GT(open()->find("a")->passages.front().id, old_id);
  EXPECT_FALSE(open()->place_of(old_id));
  EXPECT_EQ(open()->stats().documents, 3);
  expect_as_it_should_be();
  const auto again =
      BankOracle::make(kShape, std::vector<std::string>{"a"}, writer->next_passage_id());
  EXPECT_THROW(writer->commit(again[0].documents, again[0].encoded), Error) << "not asked to";
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, ASegmentWithoutLivePassagesIsNoMore) {
  const auto writer = open_writer();
  put(*writer, {"a", "b"});
  put(*writer, {"c"});
  put(*writer, {"a", "b"});
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  EXPECT_EQ(open()->stats().segments, 2);
  forget(*writer, {"a", "b", "c"});
  EXPECT_EQ(num_files(), 0);
  EXPECT_EQ(open()->stats().documents, 0);
  expect_as_it_should_be();
  EXPECT_EQ(open()->source()->num_documents(), 0);
  put(*writer, {"a"});
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, NoIdRowOrNumberIsUsedTwiceEvenIfTheLastOnesWereDeleted) {
  const auto next = [&] {
    const auto catalog =
        Catalog::open(real_file_system(), folder(), storage::Database::Mode::kRead);
    return std::vector{catalog->next_passage_id(), catalog->next_segment()};
  };
  int64_t last_row = 0;
  for (int round = 0; round < 4; ++round) {
    const auto before = std::filesystem::exists(catalog()) ? next() : std::vector<int64_t>{1, 1};
    const auto writer = open_writer();
    put(*writer, {"a", "b"});
    const auto document = open()->find("b");
    EXPECT_GT(document->row, last_row);
    last_row = document->row;
    EXPECT_GE(open()->find("a")->passages.front().id, before[0]);
    EXPECT_GE(document->passages.front().segment, before[1]);
    forget(*writer, {"a", "b"});
  }
}

TEST_F(ChangeBankTest, CompactionMergesSmallSegmentsAndDropsDeadRecords) {
  const auto writer = open_writer();
  for (const char* name : {"a", "b", "c", "d", "e"}) put(*writer, {name, name + std::string("2")});
  forget(*writer, {"a", "c2", "e"});
  EXPECT_GT(open()->stats().dead_bytes, 0);
  const Compacted done = writer->compact();
  EXPECT_EQ(done.segments, 5);
  EXPECT_GT(done.removed_bytes, 0);
  EXPECT_EQ(done.retained_files, 0);
  EXPECT_EQ(num_files(), 1);
  EXPECT_EQ(open()->stats().dead_bytes, 0);
  expect_as_it_should_be();
  EXPECT_EQ(writer->compact().segments, 0) << "there is nothing left to do";
  put(*writer, {"a"});
  put(*writer, {"f", "b"});
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, SegmentsThatWereMergedInTheMiddleKeepTheOrderOfPassages) {
  const CompactionPolicy policy{.max_segment_bytes = 4000};
  const auto writer = writer_of(facts(), policy);
  for (int n = 0; n < 12; ++n) put(*writer, {"x" + std::to_string(n), "y" + std::to_string(n)});
  for (int n = 3; n < 9; ++n) forget(*writer, {"x" + std::to_string(n)});
  writer->compact();
  const auto bank = open();
  std::vector<int64_t> segments;
  for (const Passage& passage : bank->passages()) segments.push_back(passage.segment);
  EXPECT_FALSE(std::ranges::is_sorted(segments)) << "the test is to see numbers that fall";
  expect_as_it_should_be();
  forget(*writer, {"y4", "x1"});
  put(*writer, {"y10"});
  writer->compact();
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, ACompactionOfABankInWhichNothingWasDeletedMakesItFormatThree) {
  const auto writer = open_writer();
  put(*writer, {"a"});
  writer->compact();
  EXPECT_EQ(open()->format(), 1) << "there was nothing to merge";
  put(*writer, {"b"});
  writer->compact();
  EXPECT_EQ(open()->format(), 3);
  EXPECT_EQ(open()->stats().segments, 1);
  expect_as_it_should_be();
}

/// By whether any two segments fit together.
class DamagedSegmentTest : public ChangeBankTest, public testing::WithParamInterface<bool> {};

INSTANTIATE_TEST_SUITE_P(All, DamagedSegmentTest, testing::Bool());

TEST_P(DamagedSegmentTest, StaysAsItIsWhileTheOthersAreCompacted) {
  const CompactionPolicy policy{.max_segment_bytes = GetParam() ? int64_t{256} << 20 : 1};
  const auto writer = writer_of(facts(), policy);
  for (int n = 0; n < 3; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  put(*writer, {"e", "f", "g", "h", "i", "j", "k", "l"});  // too much is alive for upkeep
  for (int n = 0; n < 3; ++n) forget(*writer, {"a" + std::to_string(n)});
  const auto size = std::filesystem::file_size(segment(2));
  {
    std::fstream file(segment(2), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size / 2));
    file.put('\x55').put('\x55');
  }
  try {
    writer->compact();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption);
    EXPECT_NE(std::string(error.what()).find("000002.msa"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(std::filesystem::exists(segment(2)));
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  EXPECT_FALSE(std::filesystem::exists(segment(3)));
  const auto problems = verify();
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].document, "b1") << "what is dead is not named";
  forget(*writer, {"b1"});
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, UpkeepReadsADamagedSegmentOnce) {
  std::atomic<int> reads = 0;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    reads += call == "read" && path == segment(2);
  });
  auto writer = BankWriter::open(files, folder(), facts());
  for (int n = 0; n < 3; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  flip(segment(2), static_cast<int64_t>(std::filesystem::file_size(segment(2))) / 2, 3);
  for (int n = 0; n < 3; ++n) forget(*writer, {"a" + std::to_string(n)});
  put(*writer, {"b0", "b2"});  // more is dead than alive
  const int once = reads;
  EXPECT_GT(once, 0);
  for (int n = 0; n < 10; ++n) put(*writer, {"c"});
  EXPECT_EQ(reads, once);
  EXPECT_TRUE(std::filesystem::exists(segment(2)));
  reads = 0;
  writer.reset();
  writer = BankWriter::open(files, folder(), facts());
  for (int n = 0; n < 10; ++n) put(*writer, {"d" + std::to_string(n)});
  forget(*writer, {"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"});
  EXPECT_GT(reads, 0) << "another writer looks again";
}

TEST_F(ChangeBankTest, LargeDocumentsMayBecomeSmallOnesAtOnce) {
  const auto writer = writer_of(facts(), {.spare_bytes = 0});
  RandomBatch batch =
      make_random_batch(kShape, {.num_documents = 10, .max_passages = 4, .max_chunks = 200});
  const RandomBatch large = batch;
  writer->commit(std::move(batch.documents), batch.encoded);
  batch = make_random_batch(
      kShape, {.first_id = writer->next_passage_id(), .num_documents = 9, .max_chunks = 1});
  for (size_t n = 0; n < 9; ++n) batch.documents[n].name = large.documents[n].name;
  writer->commit(std::move(batch.documents), batch.encoded, KnownName::kReplace);
  EXPECT_TRUE(verify().empty());
  EXPECT_EQ(open()->stats().documents, 10);
  EXPECT_LE(open()->stats().dead_bytes, open()->stats().live_bytes / 4);
}

TEST_F(ChangeBankTest, ABankWithoutItsCatalogIsNotTakenForANewOne) {
  put(*open_writer(), {"a"});
  std::filesystem::rename(folder() / "catalog.db", folder() / "catalog.db.bak");
  try {
    open_writer();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption) << error.what();
  }
  EXPECT_TRUE(std::filesystem::exists(segment(1)));
  std::filesystem::rename(folder() / "catalog.db.bak", folder() / "catalog.db");
  expect_as_it_should_be();
}

/// What documents of a batch are in a source: K and V of every passage, in order.
std::vector<float> content_of(const ChunkSource& source) {
  std::vector<float> all;
  for (int64_t layer = 0; layer < source.shape().num_layers; ++layer) {
    for (int64_t place = 0; place < source.num_documents(); ++place) {
      std::vector<float> rows(2 * source.num_chunks(place) * source.shape().key_dim());
      source.fetch(layer, std::span(&place, 1), rows.data(), rows.data() + rows.size() / 2);
      all.insert(all.end(), rows.begin(), rows.end());
    }
  }
  return all;
}

TEST_F(ChangeBankTest, AReaderKeepsItsStateWhileDocumentsGoAndSegmentsAreMerged) {
  const auto writer = open_writer();
  put(*writer, {"a", "b"});
  put(*writer, {"c", "d", "x", "y", "z"});
  auto reader = open();
  EXPECT_TRUE(reader->is_current());
  auto source = reader->source();
  const std::vector<float> before = content_of(*source);
  const Passage of_a = reader->passages().front();
  const Passage of_d = reader->passages()[*reader->place_of(reader->find("d")->passages[0].id)];
  forget(*writer, {"a"});
  EXPECT_FALSE(reader->is_current());
  put(*writer, {"d", "e"});
  EXPECT_EQ(writer->compact().retained_files, 2);
  EXPECT_EQ(num_files(), 3);
  expect_as_it_should_be();
  // Keys and content are those of then, of files that are opened anew too.
  EXPECT_EQ(content_of(*source), before);
  EXPECT_EQ(content_of(*reader->source()), before);
  // Texts are there as long as their document is; another one never takes its place.
  for (const Passage& gone : {of_a, of_d}) EXPECT_FALSE(reader->document_of(gone)) << gone.id;
  for (const char* name : {"a", "d", "e"}) EXPECT_FALSE(reader->find(name)) << name;
  EXPECT_EQ(reader->find("b")->name, "b");
  const auto listed = reader->list(0, 10);
  ASSERT_EQ(listed.size(), 5U);
  EXPECT_EQ(listed[0].name, "b");
  EXPECT_EQ(listed[1].name, "c");
  // The files go with the last who needs them.
  reader.reset();
  EXPECT_EQ(writer->compact().retained_files, 2) << "the source is there";
  source.reset();
  EXPECT_EQ(writer->compact().retained_files, 0);
  EXPECT_EQ(num_files(), 1);
}

TEST_F(ChangeBankTest, AWriterThatOpensLeavesFilesThatReadersHold) {
  put(*open_writer(), {"a", "b"});
  auto source = open()->source();
  const std::vector<float> before = content_of(*source);
  forget(*open_writer(), {"a"});
  open_writer()->compact();
  {
    const auto writer = open_writer();
    put(*writer, {"c"});
    EXPECT_TRUE(std::filesystem::exists(segment(1)));
    EXPECT_EQ(content_of(*source), before);
    EXPECT_TRUE(verify().empty()) << "a file that readers hold is no damage";
    EXPECT_GT(open()->stats().dead_bytes, 0) << "it could go";
  }
  source.reset();
  open_writer();
  EXPECT_FALSE(std::filesystem::exists(segment(1)));
  expect_as_it_should_be();
}

int64_t segment_bytes(const std::filesystem::path& folder) {
  int64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "segments")) {
    sum += static_cast<int64_t>(entry.file_size());
  }
  return sum;
}

TEST_F(ChangeBankTest, DiskUseStaysBoundedHoweverOftenDocumentsAreReplaced) {
  const uint32_t seed = 5;
  std::mt19937 random(seed);
  BankFacts own = facts();
  own.shape.head_dim = 64;  // records outweigh the headers of small files
  constexpr int64_t kMaxSegment = 64 << 10;
  const auto writer = writer_of(own, {.max_segment_bytes = kMaxSegment, .spare_bytes = 0});
  const auto put_one = [&](const std::string& name) {
    const RandomBatch one = BankOracle::make(own.shape, name, writer->next_passage_id());
    writer->commit(one.documents, one.encoded, KnownName::kReplace);
    oracle_.put(std::span(&one, 1));
  };
  for (int n = 0; n < 20; ++n) put_one("n" + std::to_string(n));
  int64_t most_files = 0;
  for (int step = 0; step < 1000; ++step) {
    put_one("n" + std::to_string(random() % 20));
    if (step % 50 != 0) continue;
    const BankStats stats = open()->stats();
    // What a segment takes beside its records: a header and tables.
    const int64_t other_bytes = 2000 * stats.segments;
    ASSERT_LE(segment_bytes(folder()), 3 * stats.live_bytes + other_bytes) << "step " << step;
    most_files = std::max(most_files, stats.segments);
  }
  EXPECT_LE(most_files, 40);
  writer->compact();
  const BankStats stats = open()->stats();
  EXPECT_LE(segment_bytes(folder()), stats.live_bytes * 5 / 4 + kMaxSegment);
  EXPECT_LE(stats.dead_bytes, stats.live_bytes / 4);
  EXPECT_LE(stats.segments, 2 * (stats.live_bytes / kMaxSegment + 1));
  expect_as_it_should_be();
}

TEST_F(ChangeBankTest, WhereCompactionAlwaysFailsDiskUseIsBoundedAndForgettingStillWorks) {
  bool is_failing = true;
  // Segments that are merged are read; those that are added are not.
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    const bool is_segment = path.parent_path().filename() == "segments";
    if (is_failing && is_segment && call == "open") throw Error(ErrorCode::kIo, "broken (test)");
  });
  const auto writer = BankWriter::open(files, folder(), facts(), {.spare_bytes = 0});
  std::string refusal;
  for (int n = 0; n < 100 && refusal.empty(); ++n) {
    // Most of each segment dies, and the rest keeps it.
    try {
      put(*writer, {"keep" + std::to_string(n), "a", "b", "c", "d", "e", "f"});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kLimit);
      refusal = error.what();
    }
    const BankStats stats = open()->stats();
    ASSERT_LE(stats.dead_bytes, 2 * stats.live_bytes) << n;
  }
  EXPECT_NE(refusal.find("broken (test)"), std::string::npos) << refusal;
  EXPECT_EQ(forget(*writer, {"keep0", "a"}).documents, 2);
  expect_as_it_should_be();
  is_failing = false;
  put(*writer, {"a", "b", "new"});
  expect_as_it_should_be();
  EXPECT_LE(open()->stats().dead_bytes, open()->stats().live_bytes);
}

class ChangedBankOfTypes : public ChangeBankTest,
                           public testing::WithParamInterface<std::pair<NumberType, ContentType>> {
};

TEST_P(ChangedBankOfTypes, EqualsANewBankOfTheSameDocumentsAfterRandomChanges) {
  BankFacts own = facts();
  own.key_type = GetParam().first;
  own.content_type = GetParam().second;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::filesystem::remove_all(folder());
    oracle_ = {};
    std::mt19937 random(seed);
    // Sizes at which segments are merged, full or split off.
    const CompactionPolicy policy{.max_segment_bytes = seed % 2 == 0 ? 20'000 : 256 << 20};
    auto writer = writer_of(own, policy);
    const auto random_names = [&](uint32_t most) {
      std::vector<std::string> names;
      for (uint32_t left = 1 + random() % most; left > 0; --left) {
        const std::string name = "n" + std::to_string(random() % 40);
        if (std::ranges::find(names, name) == names.end()) names.push_back(name);
      }
      return names;
    };
    for (int step = 0; step < 60; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      switch (random() % 8) {
        case 0:
        case 1:
          forget(*writer, random_names(6));
          break;
        case 2:
          writer->compact(random() % 3 == 0);
          break;
        case 3:
          writer.reset();
          writer = writer_of(own, policy);
          break;
        default:
          put(*writer, random_names(8));
      }
      ASSERT_TRUE(oracle_.is_in(*open()));
      if (step % 6 == 5) expect_as_it_should_be();
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ChangedBankOfTypes,
                         testing::Values(std::pair(NumberType::kFloat32, ContentType::kFloat32),
                                         std::pair(NumberType::kInt8, ContentType::kInt4),
                                         std::pair(NumberType::kBFloat16, ContentType::kBFloat16)),
                         [](const auto& parameter) {
                           return std::string(name_of(parameter.param.first)) + "_keys_" +
                                  std::string(name_of(parameter.param.second)) + "_content";
                         });

}  // namespace
}  // namespace msa::memory
