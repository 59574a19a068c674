#include "msa/samples/batch_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

using std::chrono::milliseconds;

Batch batch_of(int64_t step) {
  Batch batch;
  batch.head = {static_cast<int32_t>(step)};
  return batch;
}

TEST(BatchStream, HandsOutStepsInOrderFromAnyOnWhoeverIsSlow) {
  const auto make = [](int64_t step) {
    if (step % 3 == 0) std::this_thread::sleep_for(milliseconds(2));
    return batch_of(step);
  };
  for (const int64_t first : {0, 17}) {
    for (const int64_t threads : {1, 2, 5}) {
      BatchStream stream(make, {.first_step = first, .num_threads = threads, .max_ahead = 4});
      for (int64_t step = first; step < first + 40; ++step) {
        EXPECT_EQ(stream.next_step(), step);
        EXPECT_EQ(stream.next().head, batch_of(step).head);
      }
    }
  }
}

TEST(BatchStream, DoesNotRunFurtherAheadThanAllowed) {
  std::atomic<int64_t> made{0};
  BatchStream stream(
      [&](int64_t step) {
        ++made;
        return batch_of(step);
      },
      {.num_threads = 3, .max_ahead = 5});
  for (int64_t step = 0; step < 30; ++step) {
    stream.next();
    std::this_thread::sleep_for(milliseconds(1));
    EXPECT_LE(made, step + 1 + 5);
  }
}

TEST(BatchStream, AnErrorReachesItsStepAndAllLaterOnes) {
  BatchStream stream(
      [](int64_t step) {
        if (step >= 6) throw Error(ErrorCode::kCorruption, "step ", step);
        return batch_of(step);
      },
      {.num_threads = 4, .max_ahead = 16});
  for (int64_t step = 0; step < 6; ++step) EXPECT_EQ(stream.next().head, batch_of(step).head);
  for (int i = 0; i < 3; ++i) {
    try {
      stream.next();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_STREQ(error.what(), "step 6");
    }
  }
}

TEST(BatchStream, EndsWithoutMakingWhatWasToCome) {
  std::atomic<int64_t> made{0};
  {
    BatchStream stream(
        [&](int64_t step) {
          ++made;
          std::this_thread::sleep_for(milliseconds(5));
          return batch_of(step);
        },
        {.num_threads = 2, .max_ahead = 1000});
    stream.next();
  }
  EXPECT_LT(made, 100);
}

TEST(BatchStream, RefusesOptionsOutOfRange) {
  const auto make = [](int64_t step) { return batch_of(step); };
  EXPECT_THROW(BatchStream(make, {.num_threads = 0}), Error);
  EXPECT_THROW(BatchStream(make, {.max_ahead = 0}), Error);
  EXPECT_THROW(BatchStream(make, {.first_step = -1}), Error);
}

}  // namespace
}  // namespace msa::samples
