#include "msa/base/generation_lock.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa {
namespace {

std::unique_ptr<GenerationLock> hold(const std::filesystem::path& path, int64_t generation) {
  auto lock = GenerationLock::hold_all(path);
  if (lock) lock->narrow_to(generation);
  return lock;
}

bool is_held_below(const std::filesystem::path& path, int64_t end) {
  return GenerationLock::is_held(path, 0, end);
}

class GenerationLockTest : public testing::Test {
 protected:
  ~GenerationLockTest() override { std::filesystem::remove(path_); }

  std::filesystem::path path_ =
      std::filesystem::path(testing::TempDir()) / ("msa_generations_" + std::to_string(getpid()));
};

/// A process that holds a generation until it is told to end or is killed.
class Holder {
 public:
  Holder(const std::filesystem::path& path, int64_t generation) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      const auto lock = hold(path, generation);
      const char answer = lock ? 'y' : 'n';
      if (write(ends[1], &answer, 1) != 1) _exit(1);
      for (;;) pause();
    }
    char answer = 0;
    has_lock_ = read(ends[0], &answer, 1) == 1 && answer == 'y';
    close(ends[0]);
    close(ends[1]);
  }
  ~Holder() { end(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  bool has_lock() const { return has_lock_; }
  void end() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  bool has_lock_ = false;
};

TEST_F(GenerationLockTest, IsSeenFromOtherOpeningsOfTheSameProcess) {
  EXPECT_FALSE(is_held_below(path_, 100));
  auto lock = hold(path_, 5);
  ASSERT_TRUE(lock);
  EXPECT_FALSE(is_held_below(path_, 5)) << "a generation is not below itself";
  EXPECT_TRUE(is_held_below(path_, 6));
  EXPECT_TRUE(is_held_below(path_, int64_t{1} << 60));
  auto other = hold(path_, 5);
  lock.reset();
  EXPECT_TRUE(is_held_below(path_, 6)) << "the other reader is still there";
  other.reset();
  EXPECT_FALSE(is_held_below(path_, 6));
}

TEST_F(GenerationLockTest, IsSeenFromOtherProcessesAndFreedWhenTheyAreKilled) {
  std::vector<std::unique_ptr<Holder>> holders;
  for (const int64_t generation : {7, 3, 3, 9}) {
    holders.push_back(std::make_unique<Holder>(path_, generation));
    ASSERT_TRUE(holders.back()->has_lock());
  }
  EXPECT_FALSE(is_held_below(path_, 3));
  EXPECT_TRUE(is_held_below(path_, 4));
  holders[1]->end();
  EXPECT_TRUE(is_held_below(path_, 4)) << "two held it";
  holders[2]->end();
  EXPECT_FALSE(is_held_below(path_, 7));
  EXPECT_TRUE(is_held_below(path_, 8));
  holders[0]->end();
  EXPECT_FALSE(is_held_below(path_, 9));
  EXPECT_TRUE(is_held_below(path_, 10));
  holders[3]->end();
  EXPECT_FALSE(is_held_below(path_, 10));
}

TEST_F(GenerationLockTest, HoldsAllUntilItIsNarrowed) {
  const auto lock = GenerationLock::hold_all(path_);
  ASSERT_TRUE(lock);
  for (const int64_t first : {int64_t{0}, int64_t{7}, int64_t{1} << 62}) {
    EXPECT_TRUE(GenerationLock::is_held(path_, first, first + 1)) << first;
  }
  lock->narrow_to(7);
  EXPECT_FALSE(GenerationLock::is_held(path_, 0, 7));
  EXPECT_TRUE(GenerationLock::is_held(path_, 7, 8));
  EXPECT_FALSE(GenerationLock::is_held(path_, 8, int64_t{1} << 62));
  EXPECT_FALSE(GenerationLock::is_held(path_, 7, 7)) << "of no generation";
}

TEST_F(GenerationLockTest, WhereNoFileCanBeMadeReadersGoWithoutAndWritersAreTold) {
  const auto nowhere = path_ / "no folder" / "readers";
  EXPECT_EQ(hold(nowhere, 1), nullptr);
  EXPECT_THROW(is_held_below(nowhere, 1), Error);
  EXPECT_FALSE(is_held_below(path_, 0));
}

TEST_F(GenerationLockTest, AFileThatMayOnlyBeReadIsEnough) {
  std::ofstream(path_) << "";
  std::filesystem::permissions(path_, std::filesystem::perms::owner_read);
  const auto lock = hold(path_, 2);
  ASSERT_TRUE(lock);
  EXPECT_TRUE(is_held_below(path_, 3));
}

TEST_F(GenerationLockTest, WhatIsNoFileIsAnErrorAndTheFirstGenerationCanBeHeld) {
  const std::filesystem::path loop = path_.string() + ".loop";
  std::filesystem::remove(loop);
  std::filesystem::create_symlink(loop, loop);
  try {
    GenerationLock::hold_all(loop);
    ADD_FAILURE() << "held";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_TRUE(std::string(error.what()).starts_with("cannot open " + loop.string()))
        << error.what();
  }
  EXPECT_THROW(GenerationLock::is_held(loop, 0, 1), Error);
  std::filesystem::remove(loop);
  const auto lock = GenerationLock::hold_all(path_);
  ASSERT_TRUE(lock);
  EXPECT_THROW(lock->narrow_to(-1), Error);
  lock->narrow_to(0);
  EXPECT_TRUE(GenerationLock::is_held(path_, 0, 1));
  EXPECT_FALSE(GenerationLock::is_held(path_, 1, int64_t{1} << 62));
}

}  // namespace
}  // namespace msa
