#include "msa/train/step_dropout.h"

#include <gtest/gtest.h>

#include <set>

namespace msa::train {
namespace {

TEST(StepDropout, EveryPartOfEveryLayerPassAndStepHasASeedOfItsOwn) {
  std::set<uint64_t> seeds;
  size_t count = 0;
  for (const uint64_t step_seed : {0, 1, 2}) {
    for (int64_t layer = 0; layer < 36; ++layer) {
      for (int64_t pass = 0; pass < 5; ++pass) {
        const LayerRun run = StepDropout{.share = 0.1, .seed = step_seed}.run(true, layer, pass);
        EXPECT_TRUE(run.recomputes);
        EXPECT_EQ(run.dropout, 0.1);
        seeds.insert({run.attention_seed, run.mlp_seed});
        count += 2;
      }
    }
  }
  EXPECT_EQ(seeds.size(), count);
}

}  // namespace
}  // namespace msa::train
