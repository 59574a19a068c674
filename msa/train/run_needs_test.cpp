#include "msa/train/run_needs.h"

#include <gtest/gtest.h>

#include <string>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr int64_t kGigabyte = 1'000'000'000;

TEST(RunNeeds, TooLittleMemoryIsRefusedWithWhatIsNeededAndWhatIsThere) {
  const StepMemory memory{.weights = 4 * kGigabyte,
                          .gradients = 4 * kGigabyte,
                          .optimizer = 8 * kGigabyte,
                          .activations = 20 * kGigabyte,
                          .layer = kGigabyte};
  ASSERT_EQ(memory.peak(), 33 * kGigabyte);
  const int64_t held = 12 * kGigabyte;
  EXPECT_NO_THROW(expect_memory("routing", memory, held, 21 * kGigabyte));
  EXPECT_NO_THROW(expect_memory("routing", memory, held, 0)) << "not known";
  try {
    expect_memory("routing", memory, held, 21 * kGigabyte - 1);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
    const std::string text = error.what();
    EXPECT_NE(text.find("phase routing: a step needs about 33.0 GB of memory, 21.0 GB more than "
                        "are taken, and 21.0 GB are free"),
              std::string::npos)
        << text;
  }
}

TEST(RunNeeds, TheSystemSaysWhatIsFree) { EXPECT_GT(free_memory_bytes(at::kCPU), 10'000'000); }

}  // namespace
}  // namespace msa::train
