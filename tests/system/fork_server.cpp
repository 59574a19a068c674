// Runs of a program that all begin where its libraries are loaded, which takes libtorch a third of
// a second: a library that is loaded with the program (LD_PRELOAD).
//
// With MSA_FORK_SERVER set, what would be main() reads requests from stdin: a length of 4 bytes,
// then texts that each end with a zero byte: the files for stdout and stderr, a limit on the size
// of files (empty: none), MSA_FAULTS, and the arguments with the program's name. For each it forks;
// the child is the program, the parent writes the child's number to stdout, and its status as
// waitpid has it once it has ended, of 4 bytes each. It ends where stdin does.

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

void read_faults();

namespace {

using Main = int (*)(int, char**, char**);
Main program_main = nullptr;

bool read_all(void* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(STDIN_FILENO, static_cast<char*>(bytes) + done, size - done);
    if (count <= 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

void tell(int32_t value) {
  if (write(STDOUT_FILENO, &value, sizeof value) != sizeof value) std::_Exit(1);
}

void replace(int descriptor, const char* path, int flags) {
  const int file = open(path, flags, 0600);
  if (file < 0 || dup2(file, descriptor) < 0 || close(file) != 0) {
    std::perror(path);
    std::_Exit(125);
  }
}

int run_child(std::vector<char*> texts, char** environment) {
  replace(STDIN_FILENO, "/dev/null", O_RDONLY);
  replace(STDERR_FILENO, texts[1], O_WRONLY | O_CREAT | O_TRUNC);
  replace(STDOUT_FILENO, texts[0], O_WRONLY | O_CREAT | O_TRUNC);
  if (*texts[2] != 0) {
    const rlim_t most = std::strtoull(texts[2], nullptr, 10);
    const rlimit limit{.rlim_cur = most, .rlim_max = most};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) std::_Exit(125);
  }
  setenv("MSA_FAULTS", texts[3], /*replace=*/1);
  read_faults();
  texts.erase(texts.begin(), texts.begin() + 4);
  const int count = static_cast<int>(texts.size());
  texts.push_back(nullptr);
  return program_main(count, texts.data(), environment);
}

int serve(int, char**, char** environment) {
  uint32_t size = 0;
  while (read_all(&size, sizeof size)) {
    std::string request(size, '\0');
    if (!read_all(request.data(), size)) break;
    std::vector<char*> texts;
    for (size_t at = 0; at < size; at = request.find('\0', at) + 1) {
      texts.push_back(request.data() + at);
    }
    if (texts.size() < 5) std::_Exit(125);
    const pid_t child = fork();
    if (child == 0) return run_child(std::move(texts), environment);
    tell(child);
    int status = 0;
    if (waitpid(child, &status, 0) != child) std::_Exit(125);
    tell(status);
  }
  return 0;
}

}  // namespace

// NOLINTNEXTLINE(bugprone-reserved-identifier): the C library's, which calls main()
extern "C" int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(),
                                 void (*loader_fini)(), void* stack_end) {
  const auto start =
      reinterpret_cast<decltype(&__libc_start_main)>(dlsym(RTLD_NEXT, "__libc_start_main"));
  program_main = main;
  const bool is_server = std::getenv("MSA_FORK_SERVER") != nullptr;
  return start(is_server ? serve : main, argc, argv, init, fini, loader_fini, stack_end);
}
