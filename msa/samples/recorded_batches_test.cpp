#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "msa/base/test_paths.h"
#include "msa/samples/batch_fixture.h"
#include "msa/samples/batch_maker.h"

namespace msa::samples {
namespace {

/// FNV-1a, 64 bits, over all that a batch holds.
class BatchDigest {
 public:
  explicit BatchDigest(const Batch& batch) {
    add(batch.head);
    for (const PackedTokens* packed : {&batch.documents, &batch.sequences}) {
      add(packed->tokens);
      add(packed->positions);
      add(packed->offsets);
    }
    add(std::vector<int64_t>{batch.num_asking});
    add(batch.query_rows);
    add(batch.query_offsets);
    add(batch.gold);
    add(batch.gold_offsets);
    for (const Targets* targets : {&batch.targets, &batch.document_targets}) {
      add(targets->rows);
      add(targets->tokens);
      for (const float weight : targets->weights) add(std::bit_cast<uint32_t>(weight));
      for (const LossTerm term : targets->terms) add(static_cast<uint64_t>(term));
    }
    for (const std::string& name : batch.names) {
      add(name.size());
      for (const char byte : name) add(static_cast<unsigned char>(byte));
    }
  }

  uint64_t value() const { return value_; }

 private:
  template <typename Number>
  void add(const std::vector<Number>& numbers) {
    add(numbers.size());
    for (const Number number : numbers) add(static_cast<uint64_t>(number));
  }
  void add(uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) {
      value_ = (value_ ^ (number >> shift & 0xFFU)) * 0x100000001B3;
    }
  }

  uint64_t value_ = 0xCBF29CE484222325;
};

uint64_t digest_of(const Mixture& mixture) {
  static const BatchFixture fixture(source_folder() / "models/msa-tiny");
  BatchMaker maker(fixture.corpus(), fixture.layout(), mixture, {.seed = 3});
  std::vector<std::vector<int32_t>> groups;
  for (int32_t i = 0; i + 2 < 60; i += 3) groups.push_back({i, i + 60, i + 90});
  maker.set_similar(groups);
  uint64_t all = 0;
  for (int64_t step = 0; step < 4; ++step) {
    all = all * 31 + BatchDigest(maker.make(step)).value();
  }
  return all;
}

// A change of these numbers changes what a run with the same config and seed learns.
TEST(BatchMaker, BatchesAreTheRecordedOnesWhereNothingNewIsAskedFor) {
  Mixture mixture;
  mixture.memory_tokens = 8'000;
  mixture.sequence_tokens = 12'000;
  EXPECT_EQ(digest_of(mixture), 7247108275960160443U);
  mixture.similar_share = 0.4;
  mixture.renamed_share = 0.5;
  mixture.alone_gap_share = 0.3;
  EXPECT_EQ(digest_of(mixture), 6398829829701475903U);
  mixture.no_answer_share = 0.6;
  mixture.retry_share = 0.4;
  mixture.no_answer_text_share = 0.8;
  EXPECT_EQ(digest_of(mixture), 7587364284945468709U);
  mixture.memory_tokens = 0;
  EXPECT_EQ(digest_of(mixture), 8336751736343421688U);
}

}  // namespace
}  // namespace msa::samples
