#include "msa/base/available_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace msa {
namespace {

TEST(AvailableMemory, IsSomeOfWhatTheMachineHas) {
  const int64_t all = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  EXPECT_GT(available_memory_bytes(), 0);
  EXPECT_LE(available_memory_bytes(), all);
}

}  // namespace
}  // namespace msa
