#include "msa/train/checkpoint.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/losing_file_system.h"
#include "msa/base/observed_file_system.h"
#include "msa/base/test_paths.h"

namespace msa::train {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { clear(); }
  ~CheckpointTest() override { std::filesystem::remove_all(parent_); }

  void clear() const {
    std::filesystem::remove_all(parent_);
    std::filesystem::create_directories(parent_);
  }

  std::filesystem::path folder() const { return parent_ / "checkpoints"; }
  std::filesystem::path file(int64_t step, const std::string& name) const {
    return folder() / ("00000000" + std::to_string(step)) / name;
  }
  CheckpointFolder open(FileSystem& files = real_file_system(), int64_t keep = 2) const {
    return {files, folder(), keep};
  }

  /// Values follow from the step.
  static Checkpoint make(int64_t step) {
    at::manual_seed(static_cast<uint64_t>(step));
    Checkpoint checkpoint;
    checkpoint.run = {.step = step,
                      .phase = 1,
                      .phase_step = step - 1,
                      .tokens = 1000 * step,
                      .phase_tokens = 7,
                      .seconds = 0.1 * static_cast<double>(step),
                      .phase_seconds = 1.0 / 3,
                      .more = {{"guard", {{"losses", {0.1, 1.0 / 3}}}}},
                      .config = "[run]\nseed = " + std::to_string(step)};
    checkpoint.parameters = {{"b", at::randn({5, 3})}, {"a", at::randn({}).requires_grad_(true)}};
    checkpoint.optimizer = {{"b/momentum", at::randn({5, 3})}, {"a/steps", at::full({}, 12.0F)}};
    if (step > 1) checkpoint.similar = {{"documents", at::arange(step, at::kInt)}};
    return checkpoint;
  }

  static void expect_equal(const Checkpoint& got, const Checkpoint& want) {
    EXPECT_EQ(got.run.step, want.run.step);
    EXPECT_EQ(got.run.phase, want.run.phase);
    EXPECT_EQ(got.run.phase_step, want.run.phase_step);
    EXPECT_EQ(got.run.tokens, want.run.tokens);
    EXPECT_EQ(got.run.phase_tokens, want.run.phase_tokens);
    EXPECT_EQ(got.run.seconds, want.run.seconds);
    EXPECT_EQ(got.run.phase_seconds, want.run.phase_seconds);
    EXPECT_EQ(got.run.more, want.run.more);
    EXPECT_EQ(got.run.config, want.run.config);
    for (const auto member :
         {&Checkpoint::parameters, &Checkpoint::optimizer, &Checkpoint::similar}) {
      const std::vector<NamedTensor>& a = got.*member;
      const std::vector<NamedTensor>& b = want.*member;
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(a[i].name, b[i].name);
        EXPECT_EQ(a[i].tensor.scalar_type(), b[i].tensor.scalar_type());
        EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
      }
    }
  }

  /// The newest one's step after a check of its values, or 0 if there is none.
  int64_t newest_step(std::vector<std::string>* problems = nullptr) const {
    const auto newest = open().newest([&](const std::string& problem) {
      if (problems != nullptr) problems->push_back(problem);
    });
    if (!newest) return 0;
    expect_equal(*newest, make(newest->run.step));
    return newest->run.step;
  }

 private:
  const std::filesystem::path parent_ =
      std::filesystem::path(testing::TempDir()) / ("msa_checkpoint_" + std::to_string(getpid()));
};

constexpr int64_t kMany = int64_t{1} << 40;

void flip_bit(const std::filesystem::path& path, uint64_t bit) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(bit / 8));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(bit / 8));
  file.put(static_cast<char>(byte ^ (1 << (bit % 8))));
}

TEST_F(CheckpointTest, ReadsBackWhatWasWritten) {
  EXPECT_FALSE(open().newest({}).has_value());
  EXPECT_TRUE(open().steps().empty());
  Checkpoint checkpoint = make(3);
  checkpoint.optimizer.push_back({"wide", at::randn({2, 2}, at::kDouble)});
  checkpoint.optimizer.push_back({"count", at::arange(5)});
  checkpoint.optimizer.push_back({"half", at::randn({3}).to(at::kBFloat16)});
  checkpoint.optimizer.push_back({"columns", at::randn({4, 6}).t()});
  open().write(checkpoint);
  expect_equal(open().read(3), checkpoint);
  expect_equal(*open().newest({}), checkpoint);
}

TEST_F(CheckpointTest, AFolderOfTheFirstFormatIsRead) {
  const CheckpointFolder golden(real_file_system(),
                                (source_folder() / "tests/data/checkpoint_format_1").string(), 1);
  EXPECT_EQ(golden.steps(), std::vector<int64_t>{1200});
  Checkpoint want;
  want.run = {.step = 1200,
              .phase = 1,
              .phase_step = 200,
              .tokens = 196'608'000,
              .phase_tokens = 32'768'000,
              .seconds = 240.5,
              .phase_seconds = 44.1,
              .more = {{"guard", {{"losses", {2.25, 0.1}}}}},
              .config = "[run]\nseed = 1\n"};
  want.parameters = {{"model.norm.weight", at::arange(4, at::kFloat) / 3},
                     {"temperature", at::full({}, 0.05F)}};
  want.optimizer = {{"model.norm.weight/mean", at::arange(4, at::kFloat) * -0.5},
                    {"model.norm.weight/steps", at::full({}, 1200.0F)}};
  expect_equal(golden.read(1200), want);
}

TEST_F(CheckpointTest, KeepsTheNewestAndTakesTheNewestOfThem) {
  for (int64_t step = 1; step <= 5; ++step) {
    open().write(make(step));
    EXPECT_EQ(newest_step(), step);
  }
  EXPECT_EQ(open().steps(), (std::vector<int64_t>{4, 5}));
  open(real_file_system(), 1).write(make(6));
  EXPECT_EQ(open().steps(), std::vector<int64_t>{6});
  EXPECT_THROW(open(real_file_system(), 0), Error);
}

TEST_F(CheckpointTest, IsSyncedBeforeItIsNamedAndOlderOnesGoAfterThat) {
  open().write(make(1));
  open().write(make(2));
  std::vector<std::string> calls;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (call == "read" || call == "open" || call == "list") return;
    const std::string line =
        std::string(call) + " " + path.lexically_relative(folder()).generic_string();
    if (call != "append" || calls.back() != line) calls.push_back(line);
  });
  open(files).write(make(3));
  const std::vector<std::string> wanted{"create folder 000000003.tmp",
                                        "create 000000003.tmp/parameters.safetensors",
                                        "append 000000003.tmp/parameters.safetensors",
                                        "sync 000000003.tmp/parameters.safetensors",
                                        "create 000000003.tmp/optimizer.safetensors",
                                        "append 000000003.tmp/optimizer.safetensors",
                                        "sync 000000003.tmp/optimizer.safetensors",
                                        "create 000000003.tmp/similar.safetensors",
                                        "append 000000003.tmp/similar.safetensors",
                                        "sync 000000003.tmp/similar.safetensors",
                                        "create 000000003.tmp/checkpoint.json",
                                        "append 000000003.tmp/checkpoint.json",
                                        "sync 000000003.tmp/checkpoint.json",
                                        "sync folder 000000003.tmp",
                                        "rename 000000003",
                                        "sync folder .",
                                        "rename 000000001.tmp",
                                        "remove 000000001.tmp/checkpoint.json",
                                        "remove 000000001.tmp/optimizer.safetensors",
                                        "remove 000000001.tmp/parameters.safetensors",
                                        "remove folder 000000001.tmp"};
  EXPECT_EQ(calls, wanted);
}

TEST_F(CheckpointTest, ADamagedOneIsReportedAndPassedOver) {
  for (const char* name : {"parameters.safetensors", "optimizer.safetensors", "similar.safetensors",
                           "checkpoint.json"}) {
    clear();
    open().write(make(1));
    open().write(make(2));
    const std::filesystem::path path = file(2, name);
    const uint64_t size = std::filesystem::file_size(path);
    for (uint64_t bit = 0; bit < 8 * size; bit += 7) {
      flip_bit(path, bit);
      std::vector<std::string> problems;
      ASSERT_EQ(newest_step(&problems), 1) << name << " bit " << bit;
      ASSERT_EQ(problems.size(), 1U);
      EXPECT_NE(problems[0].find(name), std::string::npos) << problems[0];
      flip_bit(path, bit);
    }
    EXPECT_EQ(newest_step(), 2);
    for (uint64_t length = 0; length < size; length += 5) {
      std::filesystem::copy_file(path, path.string() + ".whole",
                                 std::filesystem::copy_options::overwrite_existing);
      std::filesystem::resize_file(path, length);
      ASSERT_EQ(newest_step(), 1) << name << " cut to " << length;
      std::filesystem::rename(path.string() + ".whole", path);
    }
    std::ofstream(path, std::ios::app) << " x";
    EXPECT_EQ(newest_step(), 1);
    std::filesystem::remove(path);
    EXPECT_EQ(newest_step(), 1);
  }
}

TEST_F(CheckpointTest, GoingOnAfterDamageNeverRemovesTheOnlyGoodOne) {
  for (int64_t step = 1; step <= 3; ++step) open(real_file_system(), 3).write(make(step));
  flip_bit(file(2, "parameters.safetensors"), 900);
  std::filesystem::remove(file(3, "checkpoint.json"));
  EXPECT_EQ(newest_step(), 1);
  open().write(make(2));  // the same step again
  EXPECT_EQ(newest_step(), 2);
  EXPECT_EQ(open().steps(), (std::vector<int64_t>{1, 2})) << "3 is of a future that did not come";
  open().write(make(3));
  EXPECT_EQ(newest_step(), 3);
  EXPECT_EQ(open().steps(), (std::vector<int64_t>{2, 3}));
}

TEST_F(CheckpointTest, AGoodOneOfTheSameStepIsNotWrittenAgain) {
  open().write(make(4));
  const auto before = std::filesystem::last_write_time(file(4, "checkpoint.json"));
  int creates = 0;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
    creates += call == "create" ? 1 : 0;
  });
  open(files).write(make(4));
  EXPECT_EQ(creates, 0);
  EXPECT_EQ(std::filesystem::last_write_time(file(4, "checkpoint.json")), before);
}

TEST_F(CheckpointTest, RefusesValuesThatAreNotFinite) {
  open().write(make(1));
  for (const bool is_parameter : {true, false}) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      Checkpoint checkpoint = make(2);
      auto& tensors = is_parameter ? checkpoint.parameters : checkpoint.optimizer;
      tensors[0].tensor.view(-1)[14].fill_(bad);
      try {
        open().write(checkpoint);
        ADD_FAILURE();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInternal);
        EXPECT_NE(std::string(error.what()).find("\"" + tensors[0].name + "\""), std::string::npos);
      }
      EXPECT_EQ(open().steps(), std::vector<int64_t>{1});
      EXPECT_EQ(real_file_system().list(folder()).size(), 1U);
    }
  }
}

TEST_F(CheckpointTest, OtherThingsInTheFolderAreLeftAlone) {
  open().write(make(1));
  std::filesystem::create_directory(folder() / "best");
  std::ofstream(folder() / "notes.txt") << "mine";
  std::filesystem::create_directory(folder() / "12");
  for (int64_t step = 2; step <= 4; ++step) open().write(make(step));
  EXPECT_EQ(open().steps(), (std::vector<int64_t>{3, 4}));
  for (const char* name : {"best", "notes.txt", "12"}) {
    EXPECT_TRUE(std::filesystem::exists(folder() / name)) << name;
  }
}

TEST_F(CheckpointTest, AFailureAtAnyCallLosesNothingAndTheNextWriteGoesOn) {
  LosingFileSystem fast(kMany);  // syncs nothing
  for (const bool stays_full : {true, false}) {
    int64_t failures = 0;
    for (int64_t good_calls = 0;; ++good_calls) {
      clear();
      open(fast).write(make(1));
      open(fast).write(make(2));
      int64_t left = good_calls;
      bool has_failed = false;
      ObservedFileSystem files([&](std::string_view call, const std::filesystem::path&) {
        const bool is_write = call != "read" && call != "open" && call != "list" &&
                              call != "remove" && call != "remove folder";
        if (!is_write || left-- > 0 || (has_failed && !stays_full)) return;
        has_failed = true;
        throw Error(ErrorCode::kNoSpace, "no space (test)");
      });
      bool is_written = false;
      try {
        open(files).write(make(3));
        is_written = true;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
        ++failures;
      }
      const int64_t newest = newest_step();
      EXPECT_TRUE(newest == 3 || (newest == 2 && !is_written)) << "after " << good_calls;
      if (!has_failed) break;
      open(fast).write(make(4));
      EXPECT_EQ(newest_step(), 4);
      EXPECT_LE(open().steps().size(), 2U);
      for (const std::string& name : real_file_system().list(folder())) {
        EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
      }
    }
    EXPECT_GE(failures, 14);
  }
}

TEST_F(CheckpointTest, ALossOfPowerAtAnyCallLeavesTheLastOneThatWasAcknowledged) {
  using Lost = LosingFileSystem::Lost;
  LosingFileSystem fast(kMany);  // syncs nothing
  int64_t crashes = 0;
  uint64_t seed = 1;
  // Writes steps from `first` on until the power goes, and checks what is there then.
  const auto crash = [&](int64_t good_calls, Lost lost, int64_t keep, int64_t first) {
    LosingFileSystem files(good_calls);
    int64_t acknowledged = first - 1;
    try {
      for (int64_t step = first; step < first + 4; ++step) {
        open(files, keep).write(make(step));
        acknowledged = step;
      }
    } catch (const LosingFileSystem::PowerLoss&) {
      ++crashes;
    }
    files.lose(lost, ++seed);
    const int64_t newest = newest_step();
    EXPECT_TRUE(newest == acknowledged || newest == acknowledged + 1)
        << newest << " after " << acknowledged << ", " << good_calls << " calls, keep " << keep
        << ", seed " << seed;
    return std::pair(newest, files.has_lost_power());
  };
  for (const int64_t keep : {1, 2, 3}) {
    for (const auto lost : {Lost::kAll, Lost::kNames, Lost::kBytes, Lost::kNothing, Lost::kSome}) {
      for (int64_t good_calls = 0;; ++good_calls) {
        clear();
        const auto [newest, has_lost_power] = crash(good_calls, lost, keep, 1);
        ASSERT_FALSE(HasFailure());
        if (!has_lost_power) break;
        // Again, in the middle of going on.
        const int64_t last = crash(static_cast<int64_t>(seed % 17), lost, keep, newest + 1).first;
        ASSERT_FALSE(HasFailure());
        open(fast, keep).write(make(last + 1));
        ASSERT_EQ(newest_step(), last + 1);
        ASSERT_LE(static_cast<int64_t>(open().steps().size()), keep);
      }
    }
  }
  std::printf("%lld losses of power\n", static_cast<long long>(crashes));
  EXPECT_GE(crashes, 1000);
}

/// The operating system refuses to make any file of this process larger.
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

TEST_F(CheckpointTest, WhenTheSystemRefusesToWriteTheOldOneStays) {
  open().write(make(1));
  int64_t failures = 0;
  for (rlim_t bytes = 0; bytes < 1200; bytes += 20) {
    try {
      const FileSizeLimit limit(bytes);
      open().write(make(2));
      break;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace) << error.what();
      ++failures;
    }
    ASSERT_EQ(newest_step(), 1) << "limit " << bytes;
  }
  EXPECT_GE(failures, 10);
  EXPECT_EQ(newest_step(), 2);
}

}  // namespace
}  // namespace msa::train
