#include "msa/samples/chain_maker.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/facts.h"
#include "msa/samples/memory_drawer.h"

namespace msa::samples {
namespace {

const BatchFixture& fixture() {
  static const BatchFixture made(source_folder() / "models/msa-tiny");
  return made;
}

const TrainCorpus& corpus() { return fixture().corpus(); }

TEST(ChainMaker, AsksForTheSecondDocumentInWordsOfTheFirst) {
  const ChainMaker maker(corpus(), [](int32_t) { return true; });
  int made = 0;
  for (int32_t document = 0; document < corpus().num_documents(); ++document) {
    Random random(1, {static_cast<uint64_t>(document)});
    const auto chain = maker.make(document, random);
    if (!chain) continue;
    ++made;
    EXPECT_EQ(chain->first, document);
    EXPECT_NE(chain->second, document);
    const std::string first(corpus().text(chain->first));
    const std::string linked(plain_title(corpus().title(chain->second)));
    EXPECT_NE(first.find(linked), std::string::npos);
    EXPECT_EQ(chain->text.find(linked), std::string::npos) << chain->text;
    EXPECT_NE(chain->text.find(plain_title(corpus().title(document))), std::string::npos);
    EXPECT_NE(corpus().text(chain->second).find(chain->answer), std::string_view::npos);
  }
  EXPECT_GT(made, 40);  // every article's first passage names the article before it
}

TEST(ChainMaker, TheSecondDocumentIsOneThatMayEnter) {
  const int32_t first = fixture().document("a-20-1");
  Random random(1, {});
  const auto chain = ChainMaker(corpus(), [](int32_t) { return true; }).make(first, random);
  ASSERT_TRUE(chain);
  const std::string linked(plain_title(corpus().title(chain->second)));
  const ChainMaker others(
      corpus(), [&](int32_t document) { return plain_title(corpus().title(document)) != linked; });
  EXPECT_FALSE(others.make(first, random));
}

TEST(ChainMaker, ChainsForEvaluationAreNeverDrawn) {
  Mixture mixture;
  mixture.memory_tokens = 12'000;
  const MemoryDrawer drawer(corpus(), mixture);
  const ChainMaker maker(corpus(), [](int32_t) { return true; });
  std::set<int32_t> drawn;
  for (uint64_t i = 0; i < 30; ++i) {
    Random random(3, {i});
    for (const ChainQuestion& chain : drawer.draw_memory({}, random).chains) {
      EXPECT_FALSE(maker.is_for_evaluation(chain.first));
      drawn.insert(chain.first);
    }
  }
  int kept = 0;
  int trained = 0;
  for (int32_t document = 0; document < corpus().num_documents(); ++document) {
    Random random(1, {});
    if (!maker.make(document, random)) continue;
    kept += maker.is_for_evaluation(document) ? 1 : 0;
    trained += drawn.contains(document) ? 1 : 0;
  }
  EXPECT_GT(kept, 0);
  EXPECT_LT(kept, 10);
  EXPECT_GT(trained, 30);
}

}  // namespace
}  // namespace msa::samples
