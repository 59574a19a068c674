#include "msa/samples/asked_memory.h"

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"

namespace msa::samples {
namespace {

TEST(AskedMemory, KeepsWithinItsTokensAndGivesADocumentOnePlace) {
  const BatchFixture fixture(source_folder() / "models/msa-tiny");
  const TrainCorpus& corpus = fixture.corpus();
  AskedMemory memory(corpus, fixture.layout(), 600);
  int64_t added = 0;
  while (memory.add(static_cast<int32_t>(added))) ++added;
  EXPECT_GT(added, 2);
  EXPECT_LE(memory.batch().documents.num_tokens(), 600);
  EXPECT_EQ(memory.batch().documents.num_sequences(), added);
  EXPECT_EQ(memory.add(1), 1);
  EXPECT_EQ(memory.batch().documents.num_sequences(), added);
  TrainQuestion question = corpus.question(0);
  const std::vector<int32_t> outside{1, static_cast<int32_t>(added + 5)};
  question.documents = outside;
  EXPECT_FALSE(memory.ask(question));
  EXPECT_EQ(memory.batch().num_asking, 0);
  question.documents = std::span(outside).first(1);
  EXPECT_TRUE(memory.ask(question));
  check(memory.batch(), 8'192);
  EXPECT_THROW(AskedMemory(corpus, fixture.layout(), 0), Error);
}

}  // namespace
}  // namespace msa::samples
