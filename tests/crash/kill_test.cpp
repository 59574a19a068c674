// Kills a process that ingests at random moments; the bank must hold what was acknowledged, whole.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "msa/base/error.h"
#include "msa/memory/bank.h"

namespace msa::memory {
namespace {

struct Child {
  pid_t pid = -1;
  int output = -1;
};

Child start(const std::filesystem::path& bank, uint32_t seed) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  Child child{fork(), ends[0]};
  if (child.pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    const std::string text = std::to_string(seed);
    execl(MSA_BINARY_DIR "/ingest_child", "ingest_child", bank.c_str(), text.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  return child;
}

/// The last id acknowledged before the process died, or 0.
int64_t last_acknowledged(const Child& child) {
  std::string all;
  char part[4096];
  for (ssize_t count = 0; (count = read(child.output, part, sizeof part)) > 0;) {
    all.append(part, static_cast<size_t>(count));
  }
  close(child.output);
  const size_t end = all.rfind('\n');
  if (end == std::string::npos) return 0;
  const size_t before = end == 0 ? std::string::npos : all.rfind('\n', end - 1);
  return std::stoll(all.substr(before == std::string::npos ? 0 : before + 1));
}

TEST(KilledIngest, EveryAcknowledgedDocumentIsThereAfterAnyKill) {
  const char* wanted = std::getenv("MSA_KILLS");
  const int kills = wanted == nullptr ? 200 : std::atoi(wanted);
  const uint32_t seed = 20260101;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  const auto folder =
      std::filesystem::path(testing::TempDir()) / ("msa_kill_" + std::to_string(getpid()));
  int64_t acknowledged = 0;
  int64_t committed_more = 0;
  for (int kill_number = 0; kill_number < kills; ++kill_number) {
    if (kill_number % 20 == 0) {  // creation is killed as well
      std::filesystem::remove_all(folder);
      acknowledged = 0;
    }
    const Child child = start(folder, random());
    usleep(1000 + random() % (kill_number % 4 == 0 ? 8'000 : 60'000));
    kill(child.pid, SIGKILL);
    int status = 0;
    waitpid(child.pid, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status))
        << "the child ended by itself, seed " << seed << " kill " << kill_number;
    acknowledged = std::max(acknowledged, last_acknowledged(child));
    if (!std::filesystem::exists(folder / Catalog::kFile)) {
      ASSERT_EQ(acknowledged, 0) << "kill " << kill_number;
      continue;
    }
    const auto problems = verify_bank(real_file_system(), folder);
    ASSERT_TRUE(problems.empty()) << problems.front().what << " kill " << kill_number;
    const auto bank = Bank::open(real_file_system(), folder);
    const auto held = static_cast<int64_t>(bank->passages().size());
    // At most the one batch in flight, whole, beyond what was acknowledged.
    ASSERT_GE(held, acknowledged) << "kill " << kill_number << " seed " << seed;
    ASSERT_LE(held, acknowledged + 5) << "kill " << kill_number << " seed " << seed;
    committed_more += held > acknowledged;
    acknowledged = held;
    const auto source = bank->source();
    for (int64_t place = 0; place < held; ++place) {
      ASSERT_EQ(bank->passages()[place].id, place + 1);
      std::vector<float> key(source->num_chunks(place) * 16);
      std::vector<float> value(key.size());
      source->fetch(1, std::span(&place, 1), key.data(), value.data());
      // bfloat16 of the id that was written.
      ASSERT_NEAR(key.front(), static_cast<double>(place + 1),
                  static_cast<double>(place + 1) / 128);
    }
  }
  std::printf("%d kills; %lld times the batch in flight had just been committed\n", kills,
              static_cast<long long>(committed_more));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace msa::memory
