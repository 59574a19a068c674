// A bank where nothing can be written: on a file system that is really mounted read-only, and for a
// user who may only read its folder.

#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {
namespace {

constexpr MemoryShape kShape{.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4};
constexpr int64_t kDocuments = 5;
constexpr uid_t kNobody = 65534;
constexpr const char* kSaysWhatToDo = "open it once where the folder can be written to";

/// Runs `work` in a process of its own, and returns what it says; nothing if the process died.
std::optional<std::string> in_child(const std::function<std::string()>& work) {
  int ends[2];
  if (pipe(ends) != 0) return std::nullopt;
  const pid_t child = fork();
  if (child == 0) {
    std::string said;
    try {
      said = work();
    } catch (const std::exception& error) {
      said = error.what();
    }
    const ssize_t written = write(ends[1], said.data(), said.size());
    _exit(written == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string said;
  char room[4096];
  for (ssize_t count = 0; (count = read(ends[0], room, sizeof room)) > 0;) {
    said.append(room, static_cast<size_t>(count));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
  return said;
}

BankFacts facts() {
  return {.model_fingerprint = "m",
          .tokenizer_fingerprint = "t",
          .model_name = "test",
          .shape = kShape,
          .max_passage_tokens = 100,
          .content_type = kernels::ContentType::kFloat32};
}

RandomBatch batch() { return make_random_batch(kShape, {.num_documents = kDocuments, .seed = 7}); }

void write_bank(const std::filesystem::path& folder) {
  const RandomBatch all = batch();
  BankWriter::open(real_file_system(), folder, facts())->commit(all.documents, all.encoded);
}

/// A writer that died: what it committed is in the log alone.
void write_bank_and_die(const std::filesystem::path& folder) {
  const pid_t child = fork();
  if (child == 0) {
    const RandomBatch all = batch();
    const auto writer = BankWriter::open(real_file_system(), folder, facts());
    writer->commit(all.documents, all.encoded);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
}

/// The same, copied without what is no file of the bank's.
void write_log_alone(const std::filesystem::path& folder) {
  write_bank_and_die(folder);
  std::filesystem::remove(folder / "catalog.db-shm");
}

/// Opens, lists, verifies, routes and fetches; "read" if all of it is what was written.
std::string read_bank(const std::filesystem::path& folder) {
  const auto bank = Bank::open(real_file_system(), folder);
  const auto listed = bank->list(0, 100);
  if (listed.size() != kDocuments) return "listed " + std::to_string(listed.size());
  if (!bank->find(listed[0].name)) return "not found: " + listed[0].name;
  if (bank->stats().documents != kDocuments) return "other stats";
  for (const BankProblem& problem : verify_bank(real_file_system(), folder)) return problem.what;
  const RandomBatch all = batch();
  const auto source = bank->source();
  const std::vector<float> query(16, 1.0F);
  const auto best = source->route(
      1, {.values = query.data(), .num_tokens = 1, .num_heads = 2, .rule = {}}, 3, {});
  if (best.size() != 3) return "routed to " + std::to_string(best.size());
  size_t row = 0;
  for (int64_t n = 0; n < source->num_documents(); ++n) {
    const auto count = static_cast<size_t>(source->num_chunks(n) * kShape.key_dim());
    std::vector<float> key(count);
    std::vector<float> value(count);
    source->fetch(1, std::span(&n, 1), key.data(), value.data());
    const auto from = all.encoded.value[1].begin() + static_cast<ptrdiff_t>(row);
    if (!std::equal(value.begin(), value.end(), from)) return "other values";
    row += count;
  }
  return "read";
}

class ReadOnly : public testing::Test {
 protected:
  ReadOnly()
      : folder_(std::filesystem::path(testing::TempDir()) /
                ("msa_read_only_" + std::to_string(getpid()))) {
    set_num_threads(1);  // the child of a process with OpenMP's threads would wait for them
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directory(folder_);
    std::filesystem::permissions(folder_, std::filesystem::perms(0755));
  }
  ~ReadOnly() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path bank() const { return folder_ / "bank"; }

  /// Writes a bank on a file system of its own, which is gone with the process that mounted it, and
  /// mounts that read-only. False if that is not allowed here.
  bool mount_read_only(const std::function<void(const std::filesystem::path&)>& write) const {
    if (unshare(CLONE_NEWNS) != 0) return false;
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    if (mount("msa_test", folder_.c_str(), "tmpfs", 0, "size=8m") != 0) return false;
    write(bank());
    return mount("msa_test", folder_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

  /// Anyone may read the bank, and nobody else write.
  void let_others_read() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      std::filesystem::permissions(entry.path(),
                                   std::filesystem::perms(entry.is_directory() ? 0755 : 0644));
    }
  }

  static bool become_nobody() {
    return setgroups(0, nullptr) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0;
  }

  std::filesystem::path folder_;
};

constexpr const char* kNotAllowed = "not allowed";

/// What reading of a bank on a read-only file system says.
#define MSA_EXPECT_ON_READ_ONLY(write, expectation)                                             \
  {                                                                                             \
    const auto said = in_child(                                                                 \
        [&] { return mount_read_only(write) ? read_bank(bank()) : std::string(kNotAllowed); }); \
    if (said == kNotAllowed) GTEST_SKIP() << "mounting a file system is not allowed here";      \
    ASSERT_TRUE(said) << "the process died";                                                    \
    expectation                                                                                 \
  }

TEST_F(ReadOnly, ABankOnAReadOnlyFileSystemOpensListsVerifiesAndAnswers) {
  MSA_EXPECT_ON_READ_ONLY(write_bank, EXPECT_EQ(*said, "read");)
}

TEST_F(ReadOnly, ALogIsReadIfItsSharedMemoryStandsBesideIt) {
  MSA_EXPECT_ON_READ_ONLY(write_bank_and_die, EXPECT_EQ(*said, "read");)
}

TEST_F(ReadOnly, ALogAloneIsRefusedWithAWordOnWhatToDo) {
  MSA_EXPECT_ON_READ_ONLY(write_log_alone, EXPECT_NE(said->find(kSaysWhatToDo), std::string::npos)
                                               << *said;)
}

TEST_F(ReadOnly, AUserWhoMayOnlyRead) {
  if (geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  write_bank(bank());
  let_others_read();
  EXPECT_EQ(in_child([&] { return become_nobody() ? read_bank(bank()) : "cannot"; }), "read");
}

TEST_F(ReadOnly, AUserWhoMayOnlyReadIsToldOfALogThatIsAlone) {
  if (geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
  write_bank_and_die(bank());
  let_others_read();
  const auto read_as_nobody = [&] {
    return in_child([&] { return become_nobody() ? read_bank(bank()) : "cannot"; });
  };
  EXPECT_EQ(read_as_nobody(), "read");
  std::filesystem::remove(bank() / "catalog.db-shm");
  const auto said = read_as_nobody();
  ASSERT_TRUE(said);
  EXPECT_NE(said->find(kSaysWhatToDo), std::string::npos) << *said;
  EXPECT_EQ(read_bank(bank()), "read");  // by one who may write
}

}  // namespace
}  // namespace msa::memory
