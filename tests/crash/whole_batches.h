#pragma once
// Whether a bank holds whole batches, and each as it was committed.

#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "msa/memory/bank.h"
#include "tests/crash/batches.h"

namespace msa::memory {

/// Compares every word and every number of the bank; returns the first ids of its batches.
/// The last batch is looked at as long as `from`, the place to begin at, is that of a batch.
inline std::vector<int64_t> expect_whole_batches(const Bank& bank, int64_t from) {
  std::vector<int64_t> first_ids;
  const auto source = bank.source();
  const auto held = static_cast<int64_t>(bank.passages().size());
  EXPECT_EQ(source->num_documents(), held);
  for (int64_t place = from; place < held;) {
    const RandomBatch batch = crash_batch(place + 1);
    first_ids.push_back(place + 1);
    size_t rows = 0;  // of the batch, before this passage
    for (const Document& document : batch.documents) {
      const auto found = bank.find(document.name);
      if (!found || found->text != document.text ||
          found->passages.size() != document.passages.size()) {
        ADD_FAILURE() << document.name << " is not there as it was committed";
        return first_ids;
      }
      for (const Passage& passage : document.passages) {
        if (place >= held) {
          ADD_FAILURE() << "a part of the batch from " << first_ids.back() << " is missing";
          return first_ids;
        }
        EXPECT_EQ(bank.passages()[place].id, passage.id);
        const size_t count = passage.chunks * bank.facts().shape.key_dim();
        std::vector<float> key(count);
        std::vector<float> value(count);
        for (int64_t layer = 0; layer < bank.facts().shape.num_layers; ++layer) {
          source->fetch(layer, std::span(&place, 1), key.data(), value.data());
          const float* wanted_key = batch.encoded.key[layer].data() + rows;
          const float* wanted_value = batch.encoded.value[layer].data() + rows;
          EXPECT_TRUE(std::equal(key.begin(), key.end(), wanted_key)) << passage.id;
          EXPECT_TRUE(std::equal(value.begin(), value.end(), wanted_value)) << passage.id;
        }
        rows += count;
        ++place;
      }
    }
  }
  return first_ids;
}

}  // namespace msa::memory
