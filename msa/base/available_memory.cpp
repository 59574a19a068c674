#include "msa/base/available_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>

namespace msa {
namespace {

/// The number that such a file of the kernel consists of; nothing for "max" or no file.
std::optional<int64_t> number_in(const char* path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

int64_t system_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  int64_t kilobytes = 0;
  std::string rest;
  while (file >> name >> kilobytes && std::getline(file, rest)) {
    if (name == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

/// Of memory.stat; 0 without it.
int64_t stat_of(const char* wanted) {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::string name;
  int64_t number = 0;
  while (file >> name >> number) {
    if (name == wanted) return number;
  }
  return 0;
}

}  // namespace

int64_t available_memory_bytes() {
  const int64_t available = system_available_bytes();
  const auto most = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  if (!most || !used) return available;
  // What files have in memory can be taken back.
  const int64_t held = *used - stat_of("inactive_file") - stat_of("active_file");
  return std::min(available, std::max<int64_t>(*most - held, 0));
}

}  // namespace msa
