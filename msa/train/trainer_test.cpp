#include "msa/train/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/full_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/base/test_paths.h"
#include "msa/samples/corpus_fixture.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

using testing::Contains;
using testing::HasSubstr;

constexpr const char* kConfig = R"([run]
output = "run"
threads = 1
[model]
config = "model.json"
tokenizer = "MODELS/msa-tiny"
[data]
cache = "cache"
held_back = ["held_back.txt"]
[[data.source]]
name = "towns"
documents = "documents.jsonl"
questions = ["questions.jsonl"]
[evaluation]
every_steps = 4
questions = 5
memory_tokens = [500, 2000]
[mining]
every_steps = 3
questions = 20
memory_tokens = 1500
documents = 2
[[phase]]
name = "words"
rate = 1e-3
stop.steps = 4
mixture.memory_tokens = 0
mixture.sequence_tokens = 200
[[phase]]
name = "memory"
rate = 1e-3
stop.steps = 8
dropout = 0.1
losses.auxiliary = 1
auxiliary.method = "INFONCE"
mixture.memory_tokens = 400
mixture.sequence_tokens = 400
mixture.similar_share = 0.5
)";

StopAsked never() {
  return [] { return false; };
}

class TrainerTest : public testing::Test {
 protected:
  TrainerTest() {
    std::string documents;
    std::string questions;
    std::string held_back;
    const char* names[] = {"Balo", "Kemi", "Rusta", "Vonqui", "Zetha", "Dorpli", "Miru"};
    for (int i = 0; i < 49; ++i) {
      const std::string town = std::string(names[i % 7]) + " " + names[i / 7];
      const std::string year = std::to_string(1700 + 5 * i);
      const std::string number = std::to_string(i);
      documents += R"({"id":"d)" + number + R"(","title":")" + town + R"(","text":"The town of )" +
                   town + " was founded in " + year + " beside a river.\"}\n";
      questions += R"({"id":"q)" + number + R"(","question":"When was )" + town +
                   R"( founded?","answers":[")" + year + R"("],"documents":["d)" + number +
                   "\"]}\n";
      if (i % 9 == 0) held_back += "q" + number + "\n";
    }
    scratch_.write("documents.jsonl", documents);
    scratch_.write("questions.jsonl", questions);
    scratch_.write("held_back.txt", held_back);
    scratch_.write("model.json", small_config({{"vocab_size", 8192}}).raw.dump());
  }

  std::filesystem::path folder(const std::string& run) const { return scratch_.path() / run; }

  RunSetup set_up(const std::string& run, std::vector<Setting> settings = {},
                  const StopAsked& stop = {}) {
    std::string text = kConfig;
    const std::string models = (source_folder() / "models").string();
    text.replace(text.find("MODELS"), 6, models);
    settings.push_back({.key = "run.output", .value = folder(run).string()});
    return train::set_up(real_file_system(),
                         parse_config(text, "test.toml", scratch_.path(), settings),
                         {.writes = true,
                          .on_line = [this](const auto& line) { lines_.push_back(line); },
                          .stop = stop});
  }

  Trainer open(RunSetup setup, bool resumes, FileSystem& files = real_file_system()) {
    return {files, std::move(setup), resumes,
            [this](const std::string& line) { lines_.push_back(line); }};
  }

  bool run(const std::string& name, bool resumes, const StopAsked& stop = never()) {
    return open(set_up(name), resumes).run(stop);
  }

  /// What must not depend on how often a run was stopped.
  std::vector<Json> log_of(const std::string& run) const {
    std::vector<Json> lines;
    for (Json line : read_log(real_file_system(), folder(run) / "log.jsonl")) {
      for (const char* key : {"seconds", "tokens_per_second", "flops_per_second"}) line.erase(key);
      lines.push_back(std::move(line));
    }
    return lines;
  }
  std::string model_of(const std::string& run) const {
    return read_file(real_file_system(), folder(run) / "model" / "model.safetensors", 1 << 30);
  }
  std::optional<Checkpoint> newest_of(const std::string& run) const {
    return CheckpointFolder(real_file_system(), folder(run) / "checkpoints", 3).newest({});
  }

  ErrorCode error_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      message_ = error.what();
      return error.code();
    }
    ADD_FAILURE() << "no error";
    return ErrorCode::kInternal;
  }

  const samples::ScratchFolder scratch_{"msa_trainer"};
  std::vector<std::string> lines_;
  std::string message_;
};

TEST_F(TrainerTest, ARunThatIsStoppedWhereItAsksEndsWithTheSameBits) {
  int64_t num_asked = 0;
  ASSERT_TRUE(run("whole", false, [&] {
    ++num_asked;
    return false;
  }));
  EXPECT_GT(num_asked, 12 + 3 * 2 * 2) << "steps, evaluations and mining ask";
  const std::string model = model_of("whole");
  const std::vector<Json> log = log_of("whole");
  int64_t num_stops = 0;
  for (int64_t first = 1; first <= num_asked; first += 3) {
    SCOPED_TRACE("stopped when asked for the " + std::to_string(first) + "th time");
    const std::string name = "stopped" + std::to_string(first);
    int64_t left = first;
    ASSERT_FALSE(run(name, false, [&] { return --left == 0; }));
    // And again soon after, which must come forward all the same.
    left = 2;
    num_stops += run(name, true, [&] { return --left == 0; }) ? 1 : 2;
    if (!std::filesystem::exists(folder(name) / "model")) {
      ASSERT_TRUE(run(name, true));
    }
    ASSERT_TRUE(model_of(name) == model);  // not printed
    ASSERT_EQ(log_of(name), log);
  }
  std::printf("stopped %lld times\n", static_cast<long long>(num_stops));
}

TEST_F(TrainerTest, IsStoppedWhileDocumentsAreRead) {
  EXPECT_EQ(error_of([&] { set_up("run", {}, [] { return true; }); }), ErrorCode::kInterrupted);
  EXPECT_THAT(message_, HasSubstr("reading of documents"));
  EXPECT_TRUE(run("run", false)) << "nothing is left behind";
}

TEST_F(TrainerTest, FiveSpoiledStepsInARowEndTheRunWithTheLastGoodCheckpoint) {
  ASSERT_TRUE(run("whole", false));
  int64_t left = 7;
  ASSERT_FALSE(run("spoiled", false, [&] { return --left == 0; }));
  const auto before = newest_of("spoiled");
  ASSERT_TRUE(before.has_value());
  ASSERT_GT(before->run.step, 2);

  RunSetup setup = set_up("spoiled");
  (*setup.parameters)["model.layers.1.mlp.down_proj.weight"].register_hook(
      [](const at::Tensor& gradient) { return at::full_like(gradient, std::nan("")); });
  lines_.clear();
  EXPECT_EQ(error_of([&] { open(std::move(setup), true).run(never()); }), ErrorCode::kInternal);
  EXPECT_THAT(message_, HasSubstr("5 steps skipped one after the other"));
  EXPECT_THAT(lines_,
              Contains(testing::AllOf(HasSubstr("is skipped: a gradient is not finite; tensors: "
                                                "model.layers.1.mlp.down_proj.weight; samples: "),
                                      HasSubstr("q"))));
  const auto after = newest_of("spoiled");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->run.step, before->run.step);
  for (const auto& tensors : {after->parameters, after->optimizer}) {
    EXPECT_TRUE(not_finite(tensors).empty());
  }
  const std::vector<Json> log = log_of("spoiled");
  int64_t num_skipped = 0;
  for (const Json& line : log) num_skipped += line.contains("skipped") ? 1 : 0;
  EXPECT_EQ(num_skipped, 5);
  EXPECT_EQ(log.back().at("num_skipped"), 5);

  ASSERT_TRUE(run("spoiled", true)) << "the fault is gone";
  EXPECT_TRUE(model_of("spoiled") == model_of("whole"));  // not printed
  EXPECT_EQ(log_of("spoiled"), log_of("whole"));
}

TEST_F(TrainerTest, ASpoiledWeightIsNeverWritten) {
  RunSetup setup = set_up("run");
  const at::Tensor weight = (*setup.parameters)["model.layers.0.mlp.down_proj.weight"].detach();
  Trainer trainer = open(std::move(setup), false);
  int64_t num_asked = 0;
  const StopAsked spoils_then_stops = [&] {
    if (++num_asked == 3) weight.view(-1)[5] = std::numeric_limits<float>::infinity();
    return num_asked == 5;
  };
  EXPECT_EQ(error_of([&] { trainer.run(spoils_then_stops); }), ErrorCode::kInternal);
  EXPECT_THAT(message_, HasSubstr("model.layers.0.mlp.down_proj.weight"));
  EXPECT_FALSE(newest_of("run").has_value());
}

TEST_F(TrainerTest, ASecondRunIntoTheSameFolderIsRefused) {
  const RunSetup first = set_up("run");
  EXPECT_EQ(error_of([&] { set_up("run"); }), ErrorCode::kLocked);
  EXPECT_THAT(message_, HasSubstr("is being written by process"));
  EXPECT_NO_THROW(set_up("new/folders/another"));
}

TEST_F(TrainerTest, SaysWhichKeysChangedWhenItGoesOn) {
  int64_t left = 3;
  ASSERT_FALSE(run("run", false, [&] { return --left == 0; }));
  lines_.clear();
  open(set_up("run"), true);
  EXPECT_THAT(lines_, testing::Not(Contains(HasSubstr("config"))));
  open(set_up("run", {{"phase.1.rate", "0.5"}, {"guard.window", "50"}}), true);
  EXPECT_THAT(lines_, Contains("the config is another now: phase.1.rate = 0.001 before, 0.5 now"));
  EXPECT_THAT(lines_, Contains("the config is another now: guard.window = 100 before, 50 now"));
}

/// A disk with little room.
class FullDisk : public ObservedFileSystem {
 public:
  explicit FullDisk(uint64_t free)
      : ObservedFileSystem([](std::string_view, const std::filesystem::path&) {}), free_(free) {}
  uint64_t free_bytes(const std::filesystem::path&) override { return free_; }

 private:
  uint64_t free_;
};

TEST_F(TrainerTest, TooLittleRoomOnTheDiskIsRefusedBeforeTheFirstStep) {
  const auto refusal = [&](uint64_t free, bool resumes) {
    FullDisk files(free);
    open(set_up("run"), resumes, files);
  };
  EXPECT_EQ(error_of([&] { refusal(1'000'000, false); }), ErrorCode::kNoSpace);
  EXPECT_THAT(message_, HasSubstr("4 checkpoints of 1.7 MB and a model of 0.6 MB need 7.2 MB more, "
                                  "and 1.0 MB are free on the disk"));
  // Four checkpoints and a model of 0.13 M values and their state.
  EXPECT_NO_THROW(refusal(8'000'000, false));
  int64_t left = 3;
  ASSERT_FALSE(run("run", false, [&] { return --left == 0; }));
  EXPECT_NO_THROW(refusal(6'600'000, true)) << "one checkpoint is there";
}

}  // namespace
}  // namespace msa::train
