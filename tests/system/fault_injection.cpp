// Faults of the disk, and signals, at a chosen call of a program that is not changed for it: a
// library that is loaded before the C library's (LD_PRELOAD).
//
// MSA_FAULTS is "CALL PATH N ACTION VALUE", several of them with ';' between: at the N-th CALL
// (from 1) of a file whose path contains PATH
//   error E   that call fails with errno E
//   errors E  it and every later one of them does
//   full 28   the same for writes, but of the first one half is written, as when a disk runs full
//   free B    from that call on a volume has B bytes left (call: statvfs)
//   signal S  the process gets the signal S, then the call is made
// CALL is open, read, write, sync, truncate, rename (PATH: the new name), make (a folder), statvfs.

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

struct Fault {
  char call[16] = {};
  char path[256] = {};
  long at = 0;
  char action[16] = {};
  long value = 0;
  std::atomic<long> num_calls{0};
};

constexpr int kMaxFaults = 8;
Fault faults[kMaxFaults];
int num_faults = 0;

}  // namespace

/// Takes up MSA_FAULTS; again after a fork.
__attribute__((constructor)) void read_faults() {
  num_faults = 0;
  const char* text = std::getenv("MSA_FAULTS");
  for (; text != nullptr && *text != 0; text = std::strchr(text, ';')) {
    if (*text == ';') ++text;
    if (num_faults == kMaxFaults) std::abort();
    Fault& fault = faults[num_faults++];
    fault.num_calls = 0;
    char at[24];
    char value[24];
    if (std::sscanf(text, "%15s %255s %23s %15s %23s", fault.call, fault.path, at, fault.action,
                    value) != 5) {
      std::fprintf(stderr, "MSA_FAULTS: cannot read \"%s\"\n", text);
      std::abort();
    }
    fault.at = std::strtol(at, nullptr, 10);
    fault.value = std::strtol(value, nullptr, 10);
  }
}

namespace {

/// What is to happen instead of a call.
struct Outcome {
  int error = 0;
  bool is_half = false;  // a half of it is done
  long free_bytes = -1;
};

Outcome outcome_of(const char* call, const char* path) {
  Outcome outcome;
  for (int i = 0; i < num_faults; ++i) {
    Fault& fault = faults[i];
    if (std::strcmp(fault.call, call) != 0 || std::strstr(path, fault.path) == nullptr) continue;
    const long number = ++fault.num_calls;
    if (number < fault.at) continue;
    const bool is_first = number == fault.at;
    const auto is = [&](const char* action) { return std::strcmp(fault.action, action) == 0; };
    if (is("signal") && is_first) kill(getpid(), static_cast<int>(fault.value));
    if (is("error") && is_first) outcome.error = static_cast<int>(fault.value);
    if (is("errors") || is("full")) outcome.error = static_cast<int>(fault.value);
    if (is("full")) outcome.is_half = is_first;
    if (is("free")) outcome.free_bytes = fault.value;
  }
  return outcome;
}

Outcome outcome_of(const char* call, int descriptor) {
  if (num_faults == 0) return {};
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  char path[4096];
  const ssize_t size = readlink(link, path, sizeof path - 1);
  path[size > 0 ? size : 0] = 0;
  return outcome_of(call, path);
}

/// As the C library's calls end.
long with_errno(long error) {
  errno = static_cast<int>(error);
  return -1;
}

long make_call(const Outcome& outcome, long number, long a, long b = 0, long c = 0, long d = 0) {
  if (outcome.error != 0) return with_errno(outcome.error);
  return syscall(number, a, b, c, d);
}

long address(const void* pointer) { return reinterpret_cast<long>(pointer); }

long write_with(long number, int descriptor, const void* bytes, size_t size, off_t offset) {
  Outcome outcome = outcome_of("write", descriptor);
  if (outcome.is_half && size > 1) {
    size /= 2;
    outcome.error = 0;
  }
  return make_call(outcome, number, descriptor, address(bytes), static_cast<long>(size), offset);
}

int open_with(const char* path, int flags, mode_t mode) {
  return static_cast<int>(
      make_call(outcome_of("open", path), SYS_openat, AT_FDCWD, address(path), flags, mode));
}

}  // namespace

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the C library has its own
extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_with(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_with(path, flags, mode);
}

ssize_t read(int descriptor, void* bytes, size_t size) {
  return make_call(outcome_of("read", descriptor), SYS_read, descriptor, address(bytes),
                   static_cast<long>(size));
}

ssize_t pread(int descriptor, void* bytes, size_t size, off_t offset) {
  return make_call(outcome_of("read", descriptor), SYS_pread64, descriptor, address(bytes),
                   static_cast<long>(size), offset);
}

ssize_t pread64(int descriptor, void* bytes, size_t size, off64_t offset) {
  return pread(descriptor, bytes, size, offset);
}

ssize_t write(int descriptor, const void* bytes, size_t size) {
  return write_with(SYS_write, descriptor, bytes, size, 0);
}

ssize_t pwrite(int descriptor, const void* bytes, size_t size, off_t offset) {
  return write_with(SYS_pwrite64, descriptor, bytes, size, offset);
}

ssize_t pwrite64(int descriptor, const void* bytes, size_t size, off64_t offset) {
  return write_with(SYS_pwrite64, descriptor, bytes, size, offset);
}

int fsync(int descriptor) {
  return static_cast<int>(make_call(outcome_of("sync", descriptor), SYS_fsync, descriptor));
}

int fdatasync(int descriptor) {
  return static_cast<int>(make_call(outcome_of("sync", descriptor), SYS_fdatasync, descriptor));
}

int ftruncate(int descriptor, off_t size) noexcept {
  return static_cast<int>(
      make_call(outcome_of("truncate", descriptor), SYS_ftruncate, descriptor, size));
}

int ftruncate64(int descriptor, off64_t size) noexcept { return ftruncate(descriptor, size); }

int rename(const char* from, const char* to) noexcept {
  return static_cast<int>(
      make_call(outcome_of("rename", to), SYS_rename, address(from), address(to)));
}

int mkdir(const char* path, mode_t mode) noexcept {
  return static_cast<int>(make_call(outcome_of("make", path), SYS_mkdir, address(path), mode));
}

int statvfs(const char* path, struct statvfs* status) noexcept {
  const Outcome outcome = outcome_of("statvfs", path);
  if (outcome.error != 0) return static_cast<int>(with_errno(outcome.error));
  struct statfs found {};
  if (syscall(SYS_statfs, address(path), address(&found)) != 0) return -1;
  *status = {};
  status->f_bsize = status->f_frsize = 1;
  status->f_bavail = static_cast<fsblkcnt_t>(found.f_bavail * static_cast<uint64_t>(found.f_bsize));
  if (outcome.free_bytes >= 0) status->f_bavail = static_cast<fsblkcnt_t>(outcome.free_bytes);
  return 0;
}

}  // extern "C"
// NOLINTEND(readability-inconsistent-declaration-parameter-name)
