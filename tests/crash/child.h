#pragma once
// Starts ingest_child and reads what it has printed.

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "msa/base/test_paths.h"

namespace msa::memory {

class Child {
 public:
  /// `changes` 0: until it is killed.
  Child(const std::filesystem::path& bank, uint32_t seed, const std::string& prefix, int changes) {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    output_ = ends[0];
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      close(ends[1]);
      const std::string seed_text = std::to_string(seed);
      const std::string text = std::to_string(changes);
      execl((build_folder() / "ingest_child").c_str(), "ingest_child", bank.c_str(),
            seed_text.c_str(), prefix.c_str(), changes == 0 ? nullptr : text.c_str(), nullptr);
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

  /// Returns once it has printed something: the bank is open then. At most after ten seconds.
  void await_output() const {
    pollfd output{.fd = output_, .events = POLLIN, .revents = 0};
    poll(&output, 1, 10'000);
  }

  /// What it has printed by now and was not read yet.
  std::string output_so_far() const {
    std::string all;
    char part[4096];
    for (pollfd output{.fd = output_, .events = POLLIN, .revents = 0};
         poll(&output, 1, 0) == 1 && (output.revents & POLLIN) != 0;) {
      const ssize_t count = read(output_, part, sizeof part);
      if (count <= 0) break;
      all.append(part, static_cast<size_t>(count));
    }
    return all;
  }

  /// What it has printed until its end: it must have ended or end by itself before the pipe is
  /// full.
  std::string output() const {
    std::string all;
    char part[4096];
    for (ssize_t count = 0; (count = read(output_, part, sizeof part)) > 0;) {
      all.append(part, static_cast<size_t>(count));
    }
    return all;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

}  // namespace msa::memory
