#pragma once
// Starts ingest_child and reads what it has acknowledged.

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace msa::memory {

class Child {
 public:
  /// `commits` 0: until it is killed.
  Child(const std::filesystem::path& bank, int commits) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    output_ = ends[0];
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      const std::string text = std::to_string(commits);
      execl(MSA_BINARY_DIR "/ingest_child", "ingest_child", bank.c_str(),
            commits == 0 ? nullptr : text.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
  }
  ~Child() { close(output_); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

  /// As waitpid says.
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return status;
  }

  /// The last whole number that the process, which has ended, printed; 0 if none.
  int64_t last_acknowledged() const {
    std::string all;
    char part[4096];
    for (ssize_t count = 0; (count = read(output_, part, sizeof part)) > 0;) {
      all.append(part, static_cast<size_t>(count));
    }
    const size_t end = all.rfind('\n');
    if (end == std::string::npos) return 0;
    const size_t before = end == 0 ? std::string::npos : all.rfind('\n', end - 1);
    return std::stoll(all.substr(before == std::string::npos ? 0 : before + 1));
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace msa::memory
