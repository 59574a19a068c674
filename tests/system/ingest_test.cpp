// Ingest whose parts run side by side against ingest one step at a time, with a small model.

#include "msa/engine/ingest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/base/test_paths.h"
#include "msa/base/threads.h"
#include "msa/engine/loaded_model.h"
#include "msa/memory/bank.h"
#include "msa/storage/safetensors.h"

namespace msa::engine {
namespace {

/// A small one: what is stored is compared with what was given and with other runs, not judged.
constexpr const char* kModel = "tests/data/golden/tiny-msa";

class IngestTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    LoadOptions options;
    options.folder = source_folder() / kModel;
    model_ = LoadedModel::load(real_file_system(), std::move(options)).release();
  }
  static void TearDownTestSuite() { delete model_; }

  IngestTest() {
    folder_ =
        std::filesystem::path(testing::TempDir()) / ("msa_ingest_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
  }
  ~IngestTest() override { std::filesystem::remove_all(folder_); }

  /// Thirty documents in two files; the second repeats one that is the same, one that is other
  /// (both from another batch) and one of its own that is the same.
  std::vector<std::filesystem::path> inputs() const {
    std::ofstream first(folder_ / "first.jsonl");
    std::ofstream second(folder_ / "second.jsonl");
    const auto line = [](int number, const std::string& text) {
      return R"({"id":"d)" + std::to_string(number) + R"(","text":")" + text + "\"}\n";
    };
    const auto text = [](int number) {
      std::string words = "Document number " + std::to_string(number) + ".";
      for (int i = 0; i < number % 7; ++i) words += " It has one more sentence than others.";
      return words;
    };
    for (int i = 0; i < 20; ++i) first << line(i, text(i));
    second << line(1, text(1)) << line(2, "Something else.") << line(21, text(21))
           << line(21, text(21));
    for (int i = 22; i < 31; ++i) second << line(i, text(i));
    return {folder_ / "first.jsonl", folder_ / "second.jsonl"};
  }

  IngestOptions options(const std::string& bank, bool overlaps) const {
    IngestOptions options;
    options.bank = folder_ / bank;
    options.inputs = inputs();
    options.commit_tokens = 150;
    options.overlaps = overlaps;
    return options;
  }

  /// Every segment's bytes, by name.
  std::map<std::string, std::string> segments(const std::string& bank) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / bank / "segments")) {
      std::ostringstream bytes;
      bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      all[entry.path().filename()] = bytes.str();
    }
    return all;
  }

  /// The model, in which a bell overflows in the first layer: no other token has anything in the
  /// first column of the embeddings, whose weight there is the largest number.
  std::unique_ptr<LoadedModel> broken_model() const {
    auto folder = folder_ / "broken_model";
    std::filesystem::copy(source_folder() / kModel, folder);
    const auto tensors =
        storage::SafetensorsFile::open(real_file_system(), folder / "model.safetensors");
    const storage::TensorInfo& table = tensors->tensor("model.embed_tokens.weight");
    const storage::TensorInfo& scales = tensors->tensor("model.layers.0.input_layernorm.weight");
    std::fstream file(folder / "model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](const storage::TensorInfo& tensor, int64_t index, float value) {
      file.seekp(static_cast<std::streamoff>(tensor.offset + sizeof value * index));
      file.write(reinterpret_cast<const char*>(&value), sizeof value);
    };
    const int64_t columns = table.shape[1];
    const int64_t bell = model_->tokenizer().encode("\a").at(0);
    for (int64_t row = 0; row < table.shape[0]; ++row) put(table, row * columns, 0);
    for (int64_t i = 1; i < columns; ++i) put(table, bell * columns + i, 0);
    put(table, bell * columns, 1);
    put(scales, 0, std::numeric_limits<float>::max());
    file.close();
    LoadOptions options;
    options.folder = folder;
    return LoadedModel::load(real_file_system(), std::move(options));
  }

  std::unique_ptr<memory::Bank> open(const std::string& bank) const {
    return memory::Bank::open(real_file_system(), folder_ / bank);
  }

  void expect_whole(const std::string& bank) const {
    for (const auto& problem : memory::verify_bank(real_file_system(), folder_ / bank)) {
      ADD_FAILURE() << problem.file << ": " << problem.what;
    }
  }

  static LoadedModel* model_;
  std::filesystem::path folder_;
};

LoadedModel* IngestTest::model_ = nullptr;

TEST_F(IngestTest, SideBySideMakesTheSameBankAndTheSameReports) {
  std::vector<std::string> problems[2];
  IngestProgress done[2];
  for (const bool overlaps : {false, true}) {
    auto wanted = options(overlaps ? "beside" : "in_turn", overlaps);
    wanted.on_problem = [&](const IngestProblem& problem) {
      problems[overlaps].push_back(std::to_string(problem.line) + ": " + problem.what);
    };
    done[overlaps] = ingest(real_file_system(), *model_, wanted);
  }
  EXPECT_EQ(problems[0],
            (std::vector<std::string>{"2: the bank holds another document named \"d2\""}));
  EXPECT_EQ(problems[1], problems[0]);
  EXPECT_EQ(done[1].documents, 30);
  EXPECT_EQ(done[1].skipped, 2);
  EXPECT_EQ(done[1].tokens, done[0].tokens);
  EXPECT_EQ(done[1].input_bytes_read, done[1].input_bytes);
  EXPECT_GE(segments("in_turn").size(), 4U);
  EXPECT_TRUE(segments("beside") == segments("in_turn"));
  const auto beside = open("beside")->list(0, 100);
  const auto in_turn = open("in_turn")->list(0, 100);
  ASSERT_EQ(beside.size(), in_turn.size());
  for (size_t i = 0; i < beside.size(); ++i) EXPECT_EQ(beside[i].name, in_turn[i].name);
  expect_whole("beside");
}

TEST_F(IngestTest, OfANameThatComesTwiceTheFirstReplacesAndARepeatedRunChangesNothing) {
  std::map<std::string, std::string> first;
  for (const int64_t repeated : {0, 1}) {
    std::vector<std::string> problems;
    auto wanted = options("bank", false);
    wanted.replaces = true;
    wanted.on_problem = [&](const IngestProblem& problem) {
      problems.push_back(std::to_string(problem.line) + ": " + problem.what);
    };
    const IngestProgress done = ingest(real_file_system(), *model_, wanted);
    EXPECT_EQ(problems.front(), "2: the name \"d2\" came before");
    EXPECT_EQ(done.documents, repeated == 0 ? 30 : 0);
    EXPECT_EQ(done.skipped, repeated == 0 ? 2 : 32);
    EXPECT_EQ(open("bank")->find("d2")->text.find("Something else"), std::string::npos);
    if (repeated == 0) first = segments("bank");
  }
  EXPECT_EQ(segments("bank"), first);
  expect_whole("bank");
}

TEST_F(IngestTest, ADiskThatFailsWhileOthersWorkLeavesWholeBatchesAndIsTold) {
  for (const int allowed : {0, 1, 3}) {
    const std::string bank = "fails_" + std::to_string(allowed);
    int synced = 0;  // segments; written by one thread
    ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
      if (call == "sync" && path.extension() == ".msa" && synced++ == allowed) {
        throw Error(ErrorCode::kIo, "the disk is gone");
      }
    });
    try {
      ingest(files, *model_, options(bank, true));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "the disk is gone");
    }
    EXPECT_EQ(open(bank)->stats().segments, allowed);
    expect_whole(bank);
    // The same command again goes on.
    const IngestProgress rest = ingest(real_file_system(), *model_, options(bank, true));
    EXPECT_EQ(open(bank)->stats().documents, 30);
    EXPECT_GT(rest.documents, 0);
    expect_whole(bank);
  }
}

TEST_F(IngestTest, StoppedAtAnyPassItKeepsWhatIsEncodedAndGoesOnLater) {
  for (const int64_t passes : {1, 2, 4}) {
    const std::string bank = "stopped_" + std::to_string(passes);
    std::atomic<bool> stop = false;
    auto wanted = options(bank, true);
    wanted.stop = [&] { return stop.load(); };
    int64_t seen = 0;  // tokens, which only grow
    int64_t done = 0;
    wanted.on_progress = [&](const IngestProgress& progress) {
      if (progress.tokens > seen) stop = stop || ++done == passes;
      seen = progress.tokens;
    };
    try {
      ingest(real_file_system(), *model_, wanted);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInterrupted) << error.what();
    }
    const int64_t held = open(bank)->stats().documents;
    EXPECT_GT(held, 0);
    EXPECT_LT(held, 30);
    expect_whole(bank);
    ingest(real_file_system(), *model_, options(bank, false));
    EXPECT_EQ(open(bank)->stats().documents, 30);
    expect_whole(bank);
  }
}

TEST_F(IngestTest, AnInputThatFailsToBeReadStopsNothingElse) {
  auto wanted = options("input", true);
  int64_t problems = 0;
  wanted.on_problem = [&](const IngestProblem&) { ++problems; };
  std::ofstream(folder_ / "first.jsonl", std::ios::app) << "no json\n";
  EXPECT_EQ(ingest(real_file_system(), *model_, wanted).documents, 30);
  EXPECT_EQ(problems, 2);
}

TEST_F(IngestTest, WhatTheModelCannotEncodeIsReportedWhereverItComesAgainAndTheRestIsStored) {
  const auto model = broken_model();
  const std::set<int> bad{0, 5, 17, 39};
  std::ofstream lines(folder_ / "bell.jsonl");
  const auto write = [&](int number) {
    lines << R"({"id":"d)" << number << R"(","text":"Document number )" << number
          << (bad.contains(number) ? R"(\u0007)" : "") << "\"}\n";
  };
  for (int i = 0; i < 40; ++i) write(i);
  for (const int repeated : {39, 3, 38}) write(repeated);
  lines << R"({"id":"d5","text":"A name stays taken."})"
        << "\n";
  lines.close();
  for (const int64_t commit_tokens : {1, 150, 100'000}) {
    for (const bool overlaps : {false, true}) {
      const std::string bank = std::to_string(commit_tokens) + (overlaps ? "_beside" : "_in_turn");
      auto wanted = options(bank, overlaps);
      wanted.inputs = {folder_ / "bell.jsonl"};
      wanted.commit_tokens = commit_tokens;
      for (const bool is_first : {true, false}) {
        std::vector<int64_t> reported;
        wanted.on_problem = [&](const IngestProblem& problem) {
          const bool is_other = problem.line == 44;
          EXPECT_EQ(problem.code, is_other ? ErrorCode::kInvalidArgument : ErrorCode::kInternal);
          EXPECT_NE(problem.what.find(is_other ? "\"d5\"" : "document \"d"), std::string::npos)
              << problem.what;
          reported.push_back(problem.line);
        };
        const IngestProgress done = ingest(real_file_system(), *model, wanted);
        std::ranges::sort(reported);  // batches are encoded after they are read
        EXPECT_EQ(reported, (std::vector<int64_t>{1, 6, 18, 40, 41, 44})) << bank;
        EXPECT_EQ(done.documents, is_first ? 36 : 0) << bank;
        EXPECT_EQ(done.skipped, is_first ? 2 : 38) << bank;
        EXPECT_EQ(done.failed, 6) << bank;
        const auto stats = open(bank)->stats();
        EXPECT_EQ(stats.documents, 36);
        EXPECT_EQ(done.tokens, is_first ? stats.tokens : 0) << bank;
        expect_whole(bank);
      }
    }
  }
}

TEST_F(IngestTest, AnErrorWhileReadingEndsAllAndLeavesWholeBatches) {
  auto wanted = options("told", true);
  wanted.on_problem = [](const IngestProblem& problem) {
    throw Error(ErrorCode::kInvalidArgument, "unwanted: ", problem.what);
  };
  try {
    ingest(real_file_system(), *model_, wanted);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "unwanted: the bank holds another document named \"d2\"");
  }
  EXPECT_LT(open("told")->stats().documents, 30);
  expect_whole("told");
}

TEST_F(IngestTest, PartsThatRunSideBySideUseAsManyThreadsAsTheirCaller) {
  const int before = num_threads();
  for (const int count : {1, 3}) {
    set_num_threads(count);
    auto wanted = options("threads_" + std::to_string(count), true);
    std::vector<int> seen;
    wanted.on_problem = [&](const IngestProblem&) { seen.push_back(num_threads()); };
    ingest(real_file_system(), *model_, wanted);
    EXPECT_EQ(seen, std::vector<int>(1, count));
  }
  set_num_threads(before);
}

TEST_F(IngestTest, WithoutInputsThereIsNoNewBank) {
  for (const bool overlaps : {false, true}) {
    auto wanted = options("none", overlaps);
    wanted.inputs.emplace_back(folder_ / "missing.jsonl");
    EXPECT_THROW(ingest(real_file_system(), *model_, wanted), Error);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "none"));
  }
}

TEST_F(IngestTest, AVolumeWithoutRoomIsToldBeforeAnythingIsEncoded) {
  for (const bool overlaps : {false, true}) {
    auto wanted = options(overlaps ? "full_beside" : "full", overlaps);
    wanted.min_free_bytes = uint64_t{1} << 62;
    int64_t encoded = 0;
    wanted.on_progress = [&](const IngestProgress& progress) { encoded = progress.tokens; };
    try {
      ingest(real_file_system(), *model_, wanted);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace) << error.what();
    }
    EXPECT_EQ(encoded, 0);
  }
}

}  // namespace
}  // namespace msa::engine
