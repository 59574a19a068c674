// A GPU or a host without room: a request fails alone, and nothing that was written is lost.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/engine/engine.h"
#include "msa/memory/bank.h"
#include "tests/parity/failing_library.h"
#include "tests/parity/golden_bank.h"

namespace msa::parity {
namespace {

class GpuMemory : public testing::Test {
 protected:
  static std::filesystem::path library() {
    return kernels::Gpu::beside_the_program().parent_path() / "libmsa_cuda_failing.so";
  }

  static void SetUpTestSuite() {
    try {
      model_ = load().release();
    } catch (const Error& error) {
      reason_ = error.what();
      return;
    }
    void* handle = dlopen(library().c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(handle, nullptr);
    fail_ =
        reinterpret_cast<decltype(&msa_fail_allocations)>(dlsym(handle, "msa_fail_allocations"));
    count_ =
        reinterpret_cast<decltype(&msa_allocations_since)>(dlsym(handle, "msa_allocations_since"));
    ASSERT_TRUE(fail_ != nullptr && count_ != nullptr);
    bank_ = new GoldenBank(source_folder() / "models/msa-tiny", *model_);
  }
  static void TearDownTestSuite() {
    delete bank_;
    delete model_;
  }

  void SetUp() override {
    if (model_ == nullptr) GTEST_SKIP() << reason_;
  }
  void TearDown() override {
    if (fail_ != nullptr) fail_(0, 0);
  }

  static int64_t free_bytes() {
    kernels::GpuFacts facts;
    model_->gpu()->library().find_device(facts);
    return facts.free_bytes;
  }

  static std::vector<std::string> questions() {
    std::vector<std::string> all;
    for (const Json& line : GoldenSet(source_folder() / "models/msa-tiny").lines("golden.jsonl")) {
      if (line.at("kind") == "memory") all.push_back(line.at("question").get<std::string>());
    }
    return all;
  }

  struct Failures {
    int64_t injected = 0;
    int64_t refused = 0;  // of them, with Error(kLimit)
  };

  /// For n = 0, 1, ... until `work` needs fewer allocations: prepares, and works with the n-th and
  /// `count - 1` after it failing; then has room for all.
  template <typename Prepare, typename Work, typename Then>
  static Failures fail_each(int64_t count, const Prepare& prepare, const Work& work,
                            const Then& then) {
    Failures failures;
    for (int64_t number = 0;; ++number) {
      prepare();
      fail_(number, count);
      bool is_refused = false;
      try {
        work();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
        is_refused = true;
      }
      const bool is_reached = count_() > number;
      fail_(0, 0);
      then();
      if (!is_reached) {
        EXPECT_FALSE(is_refused);
        return failures;
      }
      ++failures.injected;
      failures.refused += is_refused ? 1 : 0;
    }
  }
  static constexpr int64_t kAllThatFollow = 1'000'000;

  static std::unique_ptr<engine::LoadedModel> load() {
    engine::LoadOptions options;
    options.folder = source_folder() / "models/msa-tiny";
    options.gpu = kernels::Gpu::open(library());
    return engine::LoadedModel::load(real_file_system(), std::move(options));
  }

  static decltype(&msa_fail_allocations) fail_;
  static decltype(&msa_allocations_since) count_;
  static engine::LoadedModel* model_;
  static GoldenBank* bank_;
  static std::string reason_;
};

decltype(&msa_fail_allocations) GpuMemory::fail_ = nullptr;
decltype(&msa_allocations_since) GpuMemory::count_ = nullptr;
engine::LoadedModel* GpuMemory::model_ = nullptr;
GoldenBank* GpuMemory::bank_ = nullptr;
std::string GpuMemory::reason_ = "no GPU";

TEST_F(GpuMemory, ARequestThatFindsNoRoomFailsAlone) {
  // Another request, which has what it needs and goes on meanwhile.
  const auto other = model_->new_session(nullptr);
  const std::vector<int32_t> prompt{11, 12, 13, 14, 15, 16, 17};
  other->extend(prompt);
  const auto step = [&] {
    other->truncate(static_cast<int64_t>(prompt.size()));
    std::vector<float> all;
    for (const int32_t token : {100, 200, 300}) {
      const auto logits = other->extend(std::span(&token, 1));
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  };
  const auto wanted_logits = step();
  // A session finds no space of an engine that was just opened: it has to allocate one.
  std::unique_ptr<engine::Engine> engine;
  const auto open = [&] {
    engine = engine::Engine::open(real_file_system(), *model_, bank_->bank());
  };
  const auto all_questions = questions();
  open();
  std::vector<std::string> wanted;
  for (const auto& question : all_questions) wanted.push_back(engine->ask(question, {}).answer);
  for (int i = 0; i < 20; ++i) {  // as many spaces as are ever kept
    open();
    engine->ask(all_questions[0], {});
  }

  const int64_t free_before = free_bytes();
  std::atomic<bool> is_done = false;
  std::atomic<int64_t> num_steps = 0;
  std::atomic<int64_t> num_different = 0;
  std::jthread stepping([&] {
    while (!is_done) {
      const auto got = step();
      if (std::memcmp(got.data(), wanted_logits.data(), got.size() * sizeof(float)) != 0) {
        ++num_different;
      }
      ++num_steps;
    }
  });
  Failures one;
  Failures all;
  for (size_t q = 0; q < all_questions.size(); ++q) {
    const auto ask = [&] { EXPECT_EQ(engine->ask(all_questions[q], {}).answer, wanted[q]); };
    const auto first = fail_each(1, open, ask, ask);
    const auto second = fail_each(kAllThatFollow, open, ask, ask);
    one.injected += first.injected;
    one.refused += first.refused;
    all.injected += second.injected;
    all.refused += second.refused;
  }
  is_done = true;
  stepping.join();
  EXPECT_GT(num_steps, 0);
  EXPECT_EQ(num_different, 0);
  EXPECT_GE(all.injected, 10 * static_cast<int64_t>(all_questions.size()));
  EXPECT_EQ(all.refused, all.injected);
  EXPECT_GE(free_bytes(), free_before - model_->gpu()->facts().memory_bytes / 100);
  printf(
      "%lld single allocations failed: %lld requests refused; all from the n-th on, %lld times: "
      "%lld refused; another session made %lld runs of 3 steps meanwhile\n",
      static_cast<long long>(one.injected), static_cast<long long>(one.refused),
      static_cast<long long>(all.injected), static_cast<long long>(all.refused),
      static_cast<long long>(num_steps));
}

TEST_F(GpuMemory, ABankThatFindsNoRoomIsRefusedOrSlower) {
  const auto question = questions().front();
  const auto ask = [&] {
    return engine::Engine::open(real_file_system(), *model_, bank_->bank())
        ->ask(question, {})
        .answer;
  };
  const auto wanted = ask();
  const auto expect_answer = [&] { EXPECT_EQ(ask(), wanted); };
  const int64_t free_before = free_bytes();
  const auto failures = fail_each(
      1, [] {}, expect_answer, [] {});
  EXPECT_GT(failures.injected, 3);
  EXPECT_GE(free_bytes(), free_before - model_->gpu()->facts().memory_bytes / 100);
}

TEST_F(GpuMemory, AnIngestThatFindsNoRoomGoesOnWhereItStopped) {
  const auto ingest = [&](const engine::LoadedModel& model, const std::filesystem::path& bank) {
    engine::IngestOptions options;
    options.bank = bank;
    options.inputs = {bank_->texts_file()};
    options.commit_tokens = 2000;
    options.overlaps = true;
    engine::ingest(real_file_system(), model, options);
    return memory::Bank::open(real_file_system(), bank)->stats().documents;
  };
  const int64_t num_documents = ingest(*model_, bank_->folder() / "whole");
  ASSERT_GT(num_documents, 0);
  const auto bank = bank_->folder() / "failed";
  std::unique_ptr<engine::LoadedModel> fresh;  // has encoded nothing yet
  const auto failures = fail_each(
      kAllThatFollow,
      [&] {
        std::filesystem::remove_all(bank);
        fresh = load();
      },
      [&] { ingest(*fresh, bank); }, [&] { EXPECT_EQ(ingest(*fresh, bank), num_documents); });
  EXPECT_GT(failures.injected, 3);
  EXPECT_EQ(failures.refused, failures.injected);
}

}  // namespace
}  // namespace msa::parity
