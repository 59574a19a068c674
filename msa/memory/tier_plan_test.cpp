#include "msa/memory/tier_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

constexpr TierSizes kSizes{
    .key_bytes = 1000, .content_bytes = 50000, .record_bytes = 100, .num_documents = 1000};

void expect_refused(int64_t gpu_bytes, int64_t host_bytes, const char* reason) {
  try {
    plan_tiers(kSizes, gpu_bytes, host_bytes);
    ADD_FAILURE() << gpu_bytes << " and " << host_bytes << " bytes were enough";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    EXPECT_THAT(error.what(), testing::HasSubstr(reason));
  }
}

TEST(TierPlan, ContentIsAsNearAsItFits) {
  const Tiers gpu = plan_tiers(kSizes, 51000, 0);
  EXPECT_EQ(gpu.content, ContentPlace::kGpu);
  EXPECT_EQ(gpu.cache_slots, 0);

  const Tiers host = plan_tiers(kSizes, 50999, 50000);
  EXPECT_EQ(host.content, ContentPlace::kHost);
  EXPECT_EQ(host.cache_slots, 459);  // (50999 - 1000 - 4000) / 100
  EXPECT_EQ(host.cache_bytes, 4000 + 45900);

  const Tiers disk = plan_tiers(kSizes, 50999, 49999);
  EXPECT_EQ(disk.content, ContentPlace::kDisk);
  EXPECT_EQ(disk.cache_slots, 459);
  EXPECT_EQ(disk.staging_slots, 16);
  EXPECT_EQ(plan_tiers(kSizes, 50999, 0).staging_slots, 1);
  EXPECT_EQ(plan_tiers(kSizes, 50999, 599).staging_slots, 5);
}

TEST(TierPlan, TheHostNeedsNoCache) {
  for (const int64_t gpu_bytes : {1000, 4000, 5000, 5099}) {
    const Tiers tiers = plan_tiers(kSizes, gpu_bytes, 50000);
    EXPECT_EQ(tiers.content, ContentPlace::kHost);
    EXPECT_EQ(tiers.cache_slots, 0);
    EXPECT_EQ(tiers.cache_bytes, 0);
  }
}

TEST(TierPlan, NoMoreSlotsThanDocuments) {
  TierSizes sizes = kSizes;
  sizes.num_documents = 20;  // one large among many small would do
  EXPECT_EQ(plan_tiers(sizes, 50000, 50000).cache_slots, 20);
}

TEST(TierPlan, ABudgetThatIsTooSmallIsRefusedWithBothNumbers) {
  expect_refused(999, 50000, "keys need 1000 bytes of GPU memory, 999 are given");
  // 1000 for keys, 4000 for the table, 64 records.
  expect_refused(11399, 49999, "need 11400 bytes of GPU memory, 11399 are given");
  EXPECT_EQ(plan_tiers(kSizes, 11400, 0).cache_slots, 64);
}

TEST(TierPlan, KeysThatAreReadSeldomGoBeforeContent) {
  TierSizes sizes = kSizes;
  sizes.stored_key_bytes = 4000;
  const Tiers all = plan_tiers(sizes, 55000, 0);
  EXPECT_EQ(all.content, ContentPlace::kGpu);
  EXPECT_EQ(all.key_bytes, 5000);
  EXPECT_EQ(all.host_key_bytes, 0);

  const Tiers keys = plan_tiers(sizes, 54999, 50000);
  EXPECT_EQ(keys.content, ContentPlace::kHost);
  EXPECT_EQ(keys.key_bytes, 5000);
  EXPECT_EQ(keys.cache_slots, 459);  // (54999 - 5000 - 4000) / 100

  const Tiers host = plan_tiers(sizes, 4999, 54000);
  EXPECT_EQ(host.content, ContentPlace::kHost);
  EXPECT_EQ(host.key_bytes, 1000);
  EXPECT_EQ(host.host_key_bytes, 4000);
  EXPECT_EQ(to_text(host),
            "routing keys 1 MiB on the GPU and 1 MiB in pinned memory, content 1 MiB in pinned "
            "memory, 0 documents cached on the GPU (0 MiB)");

  try {
    plan_tiers(sizes, 4999, 3999);
    ADD_FAILURE() << "the stored keys have no place";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    EXPECT_THAT(error.what(), testing::HasSubstr("as stored need 4000 bytes"));
  }
}

TEST(TierPlan, StoredKeysMakeRoomForTheDocumentsOfALayer) {
  TierSizes sizes = kSizes;
  sizes.stored_key_bytes = 4000;
  // 5000 for all keys, 4000 for the table, 64 records.
  const Tiers last = plan_tiers(sizes, 15400, 49999);
  EXPECT_EQ(last.content, ContentPlace::kDisk);
  EXPECT_EQ(last.key_bytes, 5000);
  EXPECT_EQ(last.cache_slots, 64);

  for (const int64_t gpu_bytes : {15399, 11400, 5000}) {
    SCOPED_TRACE(gpu_bytes);
    if (gpu_bytes == 5000) {
      EXPECT_THROW(plan_tiers(sizes, gpu_bytes, 49999), Error);
      continue;
    }
    const Tiers moved = plan_tiers(sizes, gpu_bytes, 49999);
    EXPECT_EQ(moved.content, ContentPlace::kDisk);
    EXPECT_EQ(moved.key_bytes, 1000);
    EXPECT_EQ(moved.host_key_bytes, 4000);
    EXPECT_EQ(moved.cache_slots, (gpu_bytes - 1000 - 4000) / 100);
    EXPECT_EQ(moved.staging_slots, 16);
  }
  // The host has no room for them either.
  EXPECT_THROW(plan_tiers(sizes, 15399, 3999), Error);
  // Content on the host needs no cache: nothing moves.
  EXPECT_EQ(plan_tiers(sizes, 5000, 50000).key_bytes, 5000);
}

TEST(TierPlan, SaysWhereEverythingIs) {
  EXPECT_EQ(to_text({.key_bytes = 1 << 20, .content_bytes = 1}),
            "routing keys 1 MiB on the GPU, content 1 MiB on the GPU");
  EXPECT_EQ(to_text({.content = ContentPlace::kHost, .cache_slots = 7, .cache_bytes = 3 << 20}),
            "routing keys 0 MiB on the GPU, content 0 MiB in pinned memory, 7 documents cached on "
            "the GPU (3 MiB)");
}

TEST(TierPlan, AnEmptyBankFitsEverywhere) {
  EXPECT_EQ(plan_tiers({.key_bytes = 8}, 8, 0).content, ContentPlace::kGpu);
}

}  // namespace
}  // namespace msa::memory
