#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <limits>
#include <set>
#include <thread>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

ErrorCode code_of(const std::function<void()>& action, std::string* message = nullptr) {
  try {
    action();
  } catch (const Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::kInternal;
}

TEST_F(BankTest, ASecondWriterIsToldWhoHoldsTheLock) {
  const auto writer = open_writer();
  std::string message;
  EXPECT_EQ(code_of([&] { open_writer(); }, &message), ErrorCode::kLocked);
  EXPECT_NE(message.find(std::to_string(getpid())), std::string::npos) << message;
}

TEST_F(BankTest, TheLockIsFreeWhenItsWriterIsGoneAndItsNumberIsStale) {
  write(1, 1);
  std::ofstream(folder() / "LOCK") << "1";
  EXPECT_NO_THROW(open_writer());
}

TEST_F(BankTest, AFolderThatIsSomethingElseIsLeftAlone) {
  std::filesystem::create_directory(folder());
  std::ofstream(folder() / "thesis.txt") << "mine";
  EXPECT_EQ(code_of([&] { open_writer(); }), ErrorCode::kInvalidFormat);
  EXPECT_TRUE(std::filesystem::exists(folder() / "thesis.txt"));
  EXPECT_FALSE(std::filesystem::exists(catalog()));
}

TEST_F(BankTest, ABankWithoutItsCatalogIsNoPlaceForANewOne) {
  std::string message;
  EXPECT_EQ(code_of([&] { BankWriter::open_existing(real_file_system(), folder()); }, &message),
            ErrorCode::kNotFound);
  EXPECT_NE(message.find("there is no bank at " + folder().string()), std::string::npos) << message;
  commit(*open_writer(), 3, 1);
  for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(catalog().string() + end);
  const auto expect_damaged = [&] {
    EXPECT_EQ(code_of([&] { open_writer(); }, &message), ErrorCode::kCorruption);
    EXPECT_NE(message.find("a bank's files are there, but not its catalog.db"), std::string::npos)
        << message;
  };
  expect_damaged();
  std::filesystem::remove_all(folder() / "segments");
  std::ofstream(catalog().string() + "-wal") << "a log";
  expect_damaged();
  std::filesystem::remove(catalog().string() + "-wal");
  EXPECT_NO_THROW(open_writer());
}

TEST_F(BankTest, NobodyElseMayReadABank) {
  const auto writer = open_writer();
  commit(*writer, 2, 1);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
    struct stat status {};
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, entry.is_directory() ? 0700U : 0600U) << entry.path();
  }
}

TEST_F(BankTest, KnowsWhatItHoldsSoThatIngestCanGoOn) {
  const auto writer = open_writer();
  const RandomBatch batch = next_batch(*writer, 2, 1);
  writer->commit(batch.documents, batch.encoded);
  const Document& held = batch.documents[1];
  using Known = BankWriter::Known;
  EXPECT_EQ(writer->knows(held), Known::kSame);
  Document other = held;
  other.text += ".";
  EXPECT_EQ(writer->knows(other), Known::kOther);
  other.text = held.title + held.text;
  other.title.clear();
  EXPECT_EQ(writer->knows(other), Known::kOther);
  other = held;
  other.attributes = R"({"n":2})";
  EXPECT_EQ(writer->knows(other), Known::kOther);
  other = held;
  other.source = "elsewhere";
  EXPECT_EQ(writer->knows(other), Known::kSame);
  other.name = "new";
  EXPECT_EQ(writer->knows(other), Known::kNo);
}

TEST_F(BankTest, AnotherThreadMayAskWhatItKnowsWhileItCommits) {
  const auto writer = open_writer();
  const RandomBatch first = next_batch(*writer, 3, 1);
  writer->commit(first.documents, first.encoded);
  using Known = BankWriter::Known;
  Document unknown = first.documents[0];
  unknown.name = "new";
  std::atomic<bool> is_over = false;
  int64_t asked = 0;
  std::thread other([&] {
    for (; !is_over || asked < 3; ++asked) {
      EXPECT_EQ(writer->knows(first.documents[asked % 3]), Known::kSame);
      EXPECT_EQ(writer->knows(unknown), Known::kNo);
    }
  });
  for (uint32_t seed = 2; seed < 12; ++seed) commit(*writer, 3, seed);
  is_over = true;
  other.join();
  EXPECT_EQ(open()->stats().documents, 33);
  EXPECT_TRUE(verify().empty());
}

TEST_F(BankTest, RefusesBatchesThatDoNotFitTogetherAndGoesOn) {
  const auto writer = open_writer();
  commit(*writer, 2, 1);
  using Change = std::function<void(RandomBatch&)>;
  const std::vector<std::pair<std::string, Change>> changes{
      {"a name twice", [](RandomBatch& b) { b.documents[1].name = b.documents[0].name; }},
      {"a name that is there", [](RandomBatch& b) { b.documents[1].name = "doc-1"; }},
      {"an id twice",
       [](RandomBatch& b) { b.documents[1].passages[0].id = b.documents[0].passages.back().id; }},
      {"an id of old", [](RandomBatch& b) { b.documents[0].passages[0].id = 1; }},
      {"other chunks", [](RandomBatch& b) { ++b.documents[0].passages[0].chunks; }},
      {"past the text", [](RandomBatch& b) { b.documents[0].passages[0].end = 1000; }},
      {"before the text", [](RandomBatch& b) { b.documents[0].passages[0].start = -1; }},
      {"no passage", [](RandomBatch& b) { b.documents[0].passages.clear(); }},
      {"a document less", [](RandomBatch& b) { b.documents.pop_back(); }},
      {"nothing", [](RandomBatch& b) { b.documents.clear(); }},
      {"a layer less", [](RandomBatch& b) { b.encoded.key.pop_back(); }},
      {"a number less", [](RandomBatch& b) { b.encoded.value[1].pop_back(); }},
      {"negative chunks", [](RandomBatch& b) { b.encoded.num_chunks[0] = -1; }}};
  for (const auto& [name, change] : changes) {
    RandomBatch batch = next_batch(*writer, 2, 2);
    change(batch);
    EXPECT_EQ(code_of([&] { writer->commit(batch.documents, batch.encoded); }),
              ErrorCode::kInvalidArgument)
        << name;
    EXPECT_EQ(open()->stats().segments, 1) << name;
  }
  RandomBatch batch = next_batch(*writer, 2, 2);
  batch.encoded.routing_key[0][3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(code_of([&] { writer->commit(batch.documents, batch.encoded); }), ErrorCode::kInternal);
  commit(*writer, 2, 2);
  EXPECT_EQ(open()->stats().documents, 4);
  EXPECT_TRUE(verify().empty());
}

TEST_F(BankTest, IdsOfPassagesMayLeaveSomeOut) {
  const auto writer = open_writer();
  std::set<int64_t> wanted;
  for (const uint32_t seed : {1, 2}) {
    RandomBatch batch = make_random_batch(
        kShape, {.first_id = writer->next_passage_id() + 2, .num_documents = 3, .seed = seed});
    ++batch.documents[2].passages[0].id;
    for (const Document& document : batch.documents) wanted.insert(document.passages[0].id);
    writer->commit(batch.documents, batch.encoded);
    EXPECT_EQ(writer->next_passage_id(), *wanted.rbegin() + 1);
  }
  for (const bool is_compacted : {false, true}) {
    if (is_compacted) {
      EXPECT_GT(writer->compact().segments, 0);
    }
    std::set<int64_t> found;
    const auto bank = open();
    for (const Passage& passage : bank->passages()) found.insert(passage.id);
    EXPECT_EQ(found, wanted);
    EXPECT_TRUE(verify().empty());
  }
}

TEST_F(BankTest, RemovesWhatAnInterruptedWriterLeft) {
  write(2, 1);
  std::ofstream(folder() / "tmp" / "000002.msa") << "half";
  std::filesystem::copy_file(segment(1), segment(2));
  EXPECT_TRUE(verify().empty()) << "a commit may be under way";
  const auto writer = open_writer();
  EXPECT_FALSE(std::filesystem::exists(segment(2)));
  EXPECT_FALSE(std::filesystem::exists(folder() / "tmp" / "000002.msa"));
  commit(*writer, 1, 2);
  EXPECT_TRUE(std::filesystem::exists(segment(3))) << "a number is not used again";
  EXPECT_TRUE(verify().empty());
}

TEST_F(BankTest, ACommitIsInTheCatalogOnlyAfterItsSegmentIsDurable) {
  write(1, 1);
  const auto is_committed = [&] {
    const storage::Database database(catalog(), storage::Database::Mode::kRead);
    auto rows = database.prepare("SELECT count(*) FROM segments");
    return rows.next() && rows.integer(0) == 2;
  };
  std::vector<std::string> calls;
  bool is_recording = false;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (!is_recording) return;
    EXPECT_FALSE(is_committed()) << call;
    const std::string line =
        std::string(call) + " " + path.lexically_relative(folder()).generic_string();
    if (call != "append" || calls.empty() || calls.back() != line) calls.push_back(line);
  });
  const auto writer = open_writer(files);
  is_recording = true;
  commit(*writer, 2, 2);
  EXPECT_EQ(calls, (std::vector<std::string>{"create tmp/000002.msa", "append tmp/000002.msa",
                                             "sync tmp/000002.msa", "rename segments/000002.msa",
                                             "sync folder segments"}));
  EXPECT_TRUE(is_committed());
}

TEST_F(BankTest, ACreationThatIsTriedAgainSyncsTheParentFolderToo) {
  const auto parent = folder().parent_path();
  int syncs = 0;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (call != "sync folder" || !std::filesystem::equivalent(path, parent)) return;
    EXPECT_FALSE(std::filesystem::exists(catalog()));
    if (++syncs == 1) throw Error(ErrorCode::kIo, "cannot sync (test)");
  });
  EXPECT_EQ(code_of([&] { open_writer(files); }), ErrorCode::kIo);
  EXPECT_TRUE(std::filesystem::exists(folder()));
  open_writer(files);
  EXPECT_EQ(syncs, 2);
  open_writer(files);
  EXPECT_EQ(syncs, 2) << "the catalog is there";
}

/// A disk that fails at one call: that call and all later writes find no space.
class FullDisk {
 public:
  explicit FullDisk(int64_t good_calls) : left_(good_calls) {}
  bool has_failed() const { return left_ < 0; }
  void fail_after(int64_t good_calls) { left_ = good_calls; }
  FileSystem& files() { return files_; }

 private:
  void spend(std::string_view call) {
    const bool is_write = call == "create" || call == "append" || call == "sync" ||
                          call == "rename" || call == "sync folder";
    if (!is_write || left_-- > 0) return;
    left_ = -1;
    throw Error(ErrorCode::kNoSpace, "no space (test)");
  }

  int64_t left_;
  ObservedFileSystem files_{
      [this](std::string_view call, const std::filesystem::path&) { spend(call); }};
};

TEST_F(BankTest, AFullDiskAtAnyCallLosesNothingAndTheNextWriterGoesOn) {
  for (const bool is_made_anew : {true, false}) {
    std::filesystem::remove_all(folder());
    write(1, 9);
    int64_t documents = 1;
    int64_t failures = 0;
    for (int64_t good_calls = 0;; ++good_calls) {
      if (is_made_anew) {
        std::filesystem::remove_all(folder());
        documents = 0;
      }
      FullDisk disk(good_calls);
      try {
        commit(*open_writer(disk.files()), 2, static_cast<uint32_t>(good_calls));
        documents += 2;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
        ++failures;
      }
      if (std::filesystem::exists(catalog())) {
        EXPECT_EQ(open()->stats().documents, documents) << "after " << good_calls << " calls";
        EXPECT_TRUE(verify().empty());
      } else {
        EXPECT_EQ(documents, 0);
      }
      if (!disk.has_failed()) break;
      write(1, 9);  // there is room again
      ++documents;
      EXPECT_EQ(open()->stats().documents, documents);
      EXPECT_TRUE(verify().empty());
    }
    EXPECT_GE(failures, is_made_anew ? 14 : 10);
  }
}

TEST_F(BankTest, AWriterGoesOnByItselfAfterAFullDisk) {
  write(1, 1);
  int64_t documents = 1;
  FullDisk disk(1'000'000);
  const auto writer = open_writer(disk.files());
  for (int64_t good_calls = 0; good_calls < 12; ++good_calls) {
    disk.fail_after(good_calls);
    const auto seed = static_cast<uint32_t>(good_calls);
    try {
      commit(*writer, 1, seed);
      ++documents;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
    }
    disk.fail_after(1'000'000);
    commit(*writer, 2, seed);
    documents += 2;
    EXPECT_EQ(open()->stats().documents, documents);
    EXPECT_TRUE(verify().empty());
  }
}

/// The operating system refuses to make any file of this process larger, SQLite's included.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, signal_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST_F(BankTest, WhenTheSystemRefusesToWriteAtAnySizeNothingIsLost) {
  int64_t documents = 0;
  int64_t failures = 0;
  for (rlim_t bytes = 0; bytes < 160'000; bytes += 1500) {
    try {
      const FileSizeLimit limit(bytes);
      const auto writer = open_writer();
      for (uint32_t seed = 0; seed < 5; ++seed) {
        commit(*writer, 3, seed);
        documents += 3;
      }
    } catch (const Error& error) {
      // SQLite does not always say why it could not write.
      EXPECT_TRUE(error.code() == ErrorCode::kNoSpace || error.code() == ErrorCode::kIo)
          << error.what();
      ++failures;
    }
    if (!std::filesystem::exists(catalog())) continue;
    ASSERT_EQ(open()->stats().documents, documents) << "limit " << bytes;
    ASSERT_TRUE(verify().empty()) << "limit " << bytes;
  }
  EXPECT_GE(failures, 10);
  EXPECT_GT(documents, 0);
  write(1, 9);
  EXPECT_TRUE(verify().empty());
}

}  // namespace
}  // namespace msa::memory
