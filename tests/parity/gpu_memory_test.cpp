// A GPU or a host without room: a request fails alone, and nothing that was written is lost.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "msa/base/error.h"
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
    engine::LoadOptions options;
    options.folder = std::filesystem::path(MSA_SOURCE_DIR) / "models/msa-proto";
    try {
      options.gpu = kernels::Gpu::open(library());
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
    model_ = engine::LoadedModel::load(real_file_system(), std::move(options)).release();
    bank_ = new GoldenBank(std::filesystem::path(MSA_SOURCE_DIR) / "models/msa-proto", *model_);
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
    for (const Json& line : GoldenSet(std::filesystem::path(MSA_SOURCE_DIR) / "models/msa-proto")
                                .lines("golden.jsonl")) {
      if (line.at("kind") == "memory") all.push_back(line.at("question").get<std::string>());
    }
    return all;
  }

  /// Does `work` again and again, the n-th time with the n-th allocation failing, until it needs
  /// none that fails, and `then` behind it with room for all. Returns how often one failed.
  template <typename Work, typename Then>
  int64_t fail_each(const Work& work, const Then& then) {
    for (int64_t number = 0;; ++number) {
      fail_(number, 1);
      work();
      const bool is_reached = count_() > number;
      fail_(0, 0);
      then();
      if (!is_reached) return number;
    }
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
  const auto engine = engine::Engine::open(real_file_system(), *model_, bank_->bank());
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
  std::vector<std::string> wanted;
  const auto all_questions = questions();
  for (const auto& question : all_questions) wanted.push_back(engine->ask(question, {}).answer);

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
  int64_t num_failed = 0;
  int64_t num_refused = 0;
  for (size_t q = 0; q < all_questions.size(); ++q) {
    num_failed += fail_each(
        [&] {
          try {
            EXPECT_EQ(engine->ask(all_questions[q], {}).answer, wanted[q]);
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
            ++num_refused;
          }
        },
        [] {});
    EXPECT_EQ(engine->ask(all_questions[q], {}).answer, wanted[q]) << "once there is room again";
  }
  is_done = true;
  stepping.join();
  EXPECT_GT(num_steps, 0);
  EXPECT_EQ(num_different, 0);
  EXPECT_GE(num_failed, static_cast<int64_t>(all_questions.size()));
  EXPECT_GE(num_refused, static_cast<int64_t>(all_questions.size()));
  EXPECT_NEAR(static_cast<double>(free_bytes()), static_cast<double>(free_before),
              0.01 * static_cast<double>(model_->gpu()->facts().memory_bytes));
  printf(
      "%lld allocations failed in %zu questions, %lld requests were refused; another session made "
      "%lld runs of 3 steps meanwhile\n",
      static_cast<long long>(num_failed), all_questions.size(), static_cast<long long>(num_refused),
      static_cast<long long>(num_steps));
}

TEST_F(GpuMemory, ABankThatFindsNoRoomIsRefusedOrSlower) {
  const auto question = questions().front();
  const auto wanted =
      engine::Engine::open(real_file_system(), *model_, bank_->bank())->ask(question, {}).answer;
  const int64_t free_before = free_bytes();
  const int64_t num_failed = fail_each(
      [&] {
        try {
          const auto engine = engine::Engine::open(real_file_system(), *model_, bank_->bank());
          EXPECT_EQ(engine->ask(question, {}).answer, wanted);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
        }
      },
      [] {});
  EXPECT_GT(num_failed, 3);
  EXPECT_NEAR(static_cast<double>(free_bytes()), static_cast<double>(free_before),
              0.01 * static_cast<double>(model_->gpu()->facts().memory_bytes));
}

TEST_F(GpuMemory, AnIngestThatFindsNoRoomGoesOnWhereItStopped) {
  const auto ingest = [&](const std::filesystem::path& bank) {
    engine::IngestOptions options;
    options.bank = bank;
    options.inputs = {bank_->texts_file()};
    options.commit_tokens = 2000;
    options.overlaps = true;
    return engine::ingest(real_file_system(), *model_, options);
  };
  const auto whole = bank_->folder() / "whole";
  ingest(whole);
  const int64_t num_documents = memory::Bank::open(real_file_system(), whole)->stats().documents;
  ASSERT_GT(num_documents, 0);
  const auto bank = bank_->folder() / "failed";
  const int64_t num_failed = fail_each(
      [&] {
        try {
          ingest(bank);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::kLimit) << error.what();
        }
      },
      [&] {
        ingest(bank);
        EXPECT_EQ(memory::Bank::open(real_file_system(), bank)->stats().documents, num_documents);
        std::filesystem::remove_all(bank);
      });
  EXPECT_GT(num_failed, 0);
}

}  // namespace
}  // namespace msa::parity
