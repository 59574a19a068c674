#include <algorithm>
#include <functional>
#include <string>

#include "msa/base/error.h"
#include "msa/base/losing_file_system.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/bank_writer.h"

namespace msa::memory {
namespace {

/// What is done to a bank, and to its oracle.
struct Operation {
  const char* name;
  std::function<void(BankWriter&)> run;
  std::function<void(BankOracle&)> expect;
};

class ChangeFaultsTest : public BankTest {
 protected:
  static std::vector<RandomBatch> make(const std::vector<std::string>& names, int64_t first_id) {
    return BankOracle::make(kShape, names, first_id);
  }
  static void put(BankWriter& writer, const std::vector<std::string>& names, BankOracle* oracle) {
    const auto documents = make(names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    if (oracle != nullptr) oracle->put(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
  }

  /// Five segments, two of them with something dead in it. Written once, then copied.
  void write_bank() {
    const std::filesystem::path copy = folder().string() + ".copy";
    std::filesystem::remove_all(folder());
    if (std::filesystem::exists(copy)) {
      std::filesystem::copy(copy, folder(), std::filesystem::copy_options::recursive);
      oracle_ = written_;
      return;
    }
    write_first();
    written_ = oracle_;
    std::filesystem::copy(folder(), copy, std::filesystem::copy_options::recursive);
  }
  ~ChangeFaultsTest() override { std::filesystem::remove_all(folder().string() + ".copy"); }

  void write_first() {
    const auto writer = open_writer();
    for (const char* name : {"a", "b", "c", "d", "e"}) {
      put(*writer, {name + std::string("1"), name + std::string("2")}, &oracle_);
    }
    for (const char* name : {"a1", "c2"}) {
      writer->forget(std::vector<std::string>{name});
      oracle_.erase(name);
    }
    next_id_ = writer->next_passage_id();
  }

  /// Runs the operation on a new bank with this file system, and says whether it went well.
  /// Afterwards the bank is whole, and as before it or as after it.
  bool run(const Operation& operation, FileSystem& files, const std::function<void()>& afterwards) {
    bool is_done = false;
    try {
      const auto writer = open_writer(files);
      operation.run(*writer);
      is_done = true;
    } catch (const LosingFileSystem::PowerLoss&) {
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace) << error.what();
    }
    afterwards();
    BankOracle after = oracle_;
    operation.expect(after);
    const bool is_after = after.is_in(*open());
    EXPECT_TRUE(is_after || (!is_done && oracle_.is_in(*open())));
    EXPECT_TRUE(verify().empty());
    if (is_after) oracle_ = after;
    // The next writer goes on.
    {
      const auto writer = open_writer();
      put(*writer, {"next", "a2"}, &oracle_);
      writer->compact(true);
    }
    EXPECT_TRUE(oracle_.is_in(*open()));
    EXPECT_TRUE(verify().empty());
    EXPECT_EQ(open()->stats().segments,
              static_cast<int64_t>(real_file_system().list(folder() / "segments").size()));
    return is_done;
  }

  std::vector<Operation> operations() {
    const auto upsert = [](BankWriter& writer) { put(writer, {"a2", "new", "e1"}, nullptr); };
    return {{"upsert", upsert,
             [this](BankOracle& oracle) {
               oracle.put(make({"a2", "new", "e1"}, next_id_));
             }},
            {"forget",
             [](BankWriter& writer) {
               writer.forget(std::vector<std::string>{"a2", "b1", "x"});
             },
             [](BankOracle& oracle) {
               oracle.erase("a2");
               oracle.erase("b1");
             }},
            {"compact", [](BankWriter& writer) { writer.compact(); }, [](BankOracle&) {}},
            {"purge", [](BankWriter& writer) { writer.compact(true); }, [](BankOracle&) {}}};
  }

  BankOracle oracle_;
  BankOracle written_;
  int64_t next_id_ = 1;
};

TEST_F(ChangeFaultsTest, PowerLossAtAnyCallLeavesTheStateBeforeOrAfter) {
  using Lost = LosingFileSystem::Lost;
  for (const Operation& operation : operations()) {
    int64_t losses = 0;
    for (int64_t good_calls = 0;; ++good_calls) {
      bool is_done = false;
      for (const Lost lost : {Lost::kNothing, Lost::kAll, Lost::kSome}) {
        SCOPED_TRACE(std::string(operation.name) + " after " + std::to_string(good_calls) +
                     " calls, loss " + std::to_string(static_cast<int>(lost)));
        write_bank();
        LosingFileSystem files(good_calls);
        is_done =
            run(operation, files, [&] { files.lose(lost, static_cast<uint64_t>(good_calls)); });
        losses += !is_done;
        if (HasFailure()) return;
      }
      if (is_done) break;
    }
    EXPECT_GE(losses, 9) << operation.name;
  }
}

TEST_F(ChangeFaultsTest, AFullDiskAtAnyCallLeavesTheStateBeforeOrAfter) {
  for (const Operation& operation : operations()) {
    int64_t failures = 0;
    for (int64_t good_calls = 0;; ++good_calls) {
      SCOPED_TRACE(std::string(operation.name) + " after " + std::to_string(good_calls) + " calls");
      write_bank();
      int64_t left = good_calls;
      bool has_failed = false;
      ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
        if (call == "open" || call == "read" || call == "list" || call == "remove") return;
        if (left-- > 0) return;
        has_failed = true;
        throw Error(ErrorCode::kNoSpace, "no space (test)");
      });
      failures += !run(operation, files, [] {});
      if (HasFailure()) return;
      if (!has_failed) break;
    }
    // Folders are made whenever a writer opens; deleting takes nothing but the catalog.
    EXPECT_GE(failures, 2) << operation.name;
  }
}

TEST_F(ChangeFaultsTest, AFailedCallLeavesAWriterThatGoesOn) {
  for (const Operation& operation : operations()) {
    for (int64_t good_calls = 0; good_calls < 14; ++good_calls) {
      SCOPED_TRACE(std::string(operation.name) + " after " + std::to_string(good_calls) + " calls");
      write_bank();
      int64_t left = 1'000'000;
      ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
        const bool is_write = call == "create" || call == "append" || call == "sync" ||
                              call == "rename" || call == "sync folder" || call == "remove";
        if (is_write && left-- <= 0) throw Error(ErrorCode::kIo, "cannot write (test)");
      });
      const auto writer = open_writer(files);
      left = good_calls;
      bool is_done = false;
      try {
        operation.run(*writer);
        is_done = true;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kIo);
      }
      left = 1'000'000;
      BankOracle after = oracle_;
      operation.expect(after);
      EXPECT_TRUE((is_done ? after : oracle_).is_in(*open()));
      if (is_done) oracle_ = after;
      put(*writer, {"c1", "more"}, &oracle_);
      writer->compact(true);
      EXPECT_TRUE(oracle_.is_in(*open()));
      EXPECT_TRUE(verify().empty());
      EXPECT_EQ(open()->stats().dead_bytes, 0);
      if (HasFailure()) return;
    }
  }
}

TEST_F(ChangeFaultsTest, ASegmentIsDurableBeforeTheCatalogNamesItAndOldOnesGoAfterwards) {
  write_bank();
  std::vector<std::string> calls;
  bool is_recording = false;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (!is_recording || call == "open" || call == "read" || call == "list") return;
    const std::string line = std::string(call) + " " +
                             path.lexically_relative(folder()).generic_string() + " at " +
                             std::to_string(open()->stats().segments);
    if (calls.empty() || calls.back() != line) calls.push_back(line);
  });
  const auto writer = open_writer(files);
  is_recording = true;
  writer->compact();
  EXPECT_EQ(calls, (std::vector<std::string>{
                       "create tmp/000006.msa at 5", "append tmp/000006.msa at 5",
                       "sync tmp/000006.msa at 5", "rename segments/000006.msa at 5",
                       "sync folder segments at 5", "remove segments/000001.msa at 1",
                       "remove segments/000002.msa at 1", "remove segments/000003.msa at 1",
                       "remove segments/000004.msa at 1", "remove segments/000005.msa at 1"}));
}

}  // namespace
}  // namespace msa::memory
