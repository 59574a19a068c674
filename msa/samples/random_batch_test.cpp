#include "msa/samples/random_batch.h"

#include <gtest/gtest.h>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

constexpr RandomBatchOptions kJoint{.seed = 7,
                                    .vocab_size = 50,
                                    .memory_tokens = 1001,
                                    .document_tokens = 40,
                                    .num_naming = 5,
                                    .num_reading = 2,
                                    .sequence_tokens = 1500};

TEST(RandomBatch, HasTheTokensAndQuestionsAskedFor) {
  const Batch batch = random_batch(kJoint);
  EXPECT_EQ(batch.documents.num_tokens(), 1001);
  EXPECT_EQ(batch.sequences.num_tokens(), 1500);
  EXPECT_EQ(batch.num_asking, 7);
  EXPECT_EQ(batch.gold.size(), 7);
  int64_t learned[kNumLossTerms] = {};
  for (const LossTerm term : batch.targets.terms) ++learned[static_cast<size_t>(term)];
  EXPECT_EQ(learned[static_cast<size_t>(LossTerm::kIds)], 5 * 7);
  EXPECT_EQ(learned[static_cast<size_t>(LossTerm::kAnswer)], 2 * 300);
  const int64_t num_texts = batch.sequences.num_sequences() - 7;
  EXPECT_EQ(learned[static_cast<size_t>(LossTerm::kLanguage)],
            1500 - 5 * kNamingTokens - 2 * kReadingTokens - num_texts);
}

TEST(RandomBatch, IsTheSameForTheSameOptions) {
  const Batch a = random_batch(kJoint);
  const Batch b = random_batch(kJoint);
  EXPECT_EQ(a.documents.tokens, b.documents.tokens);
  EXPECT_EQ(a.sequences.offsets, b.sequences.offsets);
  EXPECT_EQ(a.gold, b.gold);
  RandomBatchOptions other = kJoint;
  other.seed = 8;
  EXPECT_NE(random_batch(other).sequences.tokens, a.sequences.tokens);
}

TEST(RandomBatch, WithoutAMemoryNobodyIsAsked) {
  const Batch batch = random_batch({.vocab_size = 50, .sequence_tokens = 300});
  EXPECT_EQ(batch.num_asking, 0);
  EXPECT_EQ(batch.documents.num_tokens(), 0);
  EXPECT_TRUE(batch.head.empty());
}

TEST(RandomBatch, WhatDoesNotFitIsRefused) {
  RandomBatchOptions options = kJoint;
  options.sequence_tokens = 500;
  EXPECT_THROW(random_batch(options), Error);
  options = kJoint;
  options.memory_tokens = 0;
  EXPECT_THROW(random_batch(options), Error);
  options = kJoint;
  options.vocab_size = 3;
  EXPECT_THROW(random_batch(options), Error);
}

}  // namespace
}  // namespace msa::samples
