// Files made by hand to harm their readers: each is refused for what is wrong with it, by name, at
// once and in little memory.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <ostream>

#include "tests/attacks/attack.h"

namespace msa::attacks {

void PrintTo(const Attack& attack, std::ostream* out) { *out << attack.name; }

namespace {

/// A line of /proc/self/status, in bytes; 0 where there is none.
int64_t memory_line(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

/// The most memory that `work` had in use, over what was in use before.
template <typename Work>
int64_t peak_memory(const Work& work) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak is what is in use now
  const int64_t before = memory_line("VmRSS");
  work();
  return memory_line("VmHWM") - before;
}

class Attacks : public testing::TestWithParam<Attack> {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::path(testing::TempDir()) / ("msa_attack_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

#ifdef __SANITIZE_ADDRESS__
constexpr bool kMeasures = false;  // the sanitizer keeps what is freed
#else
constexpr bool kMeasures = true;
#endif
constexpr auto kLongest = std::chrono::seconds(20);  // of a slow machine under a sanitizer

TEST_P(Attacks, IsRefusedByNameAtOnceAndInLittleMemory) {
  const Attack& attack = GetParam();
  const auto path = folder_ / attack.file;
  std::ofstream(path, std::ios::binary) << attack.bytes;
  const auto start = std::chrono::steady_clock::now();
  const int64_t memory = peak_memory([&] {
    try {
      attack.read(path);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error_code_name(error.code()), error_code_name(attack.code)) << error.what();
      EXPECT_NE(std::string(error.what()).find(attack.file), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(attack.says), std::string::npos) << error.what();
    }
  });
  EXPECT_LT(kMeasures ? memory : 0, attack.max_memory);
  EXPECT_LT(std::chrono::steady_clock::now() - start, kLongest);
}

std::string name_of(const testing::TestParamInfo<Attack>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Storage, Attacks, testing::ValuesIn(storage_attacks()), name_of);
INSTANTIATE_TEST_SUITE_P(Text, Attacks, testing::ValuesIn(text_attacks()), name_of);

}  // namespace
}  // namespace msa::attacks
