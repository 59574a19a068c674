#include "msa/memory/encoded_documents.h"

#include <gtest/gtest.h>

#include <limits>

namespace msa::memory {
namespace {

/// Four documents of 2, 0, 1 and 3 chunks in two layers of two numbers a chunk: 10 times the chunk
/// and what list it is of.
EncodedDocuments four_documents() {
  EncodedDocuments encoded{.num_chunks = {2, 0, 1, 3}, .key = {}, .value = {}, .routing_key = {}};
  float list = 0;
  for (auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
    for (int layer = 0; layer < 2; ++layer, ++list) {
      std::vector<float>& rows = layers->emplace_back();
      for (int i = 0; i < 12; ++i) rows.push_back(10.0F * static_cast<float>(i / 2) + list);
    }
  }
  return encoded;
}

TEST(EncodedDocuments, OneNumberThatIsNotFiniteMarksItsDocumentAlone) {
  using Marks = std::vector<bool>;
  EXPECT_EQ(are_finite(four_documents()), Marks(4, true));
  EXPECT_EQ(are_finite({}), Marks());
  const size_t document_of[] = {0, 0, 2, 3, 3, 3};  // of a chunk
  const float bad_values[] = {std::numeric_limits<float>::quiet_NaN(),
                              std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()};
  for (const auto list :
       {&EncodedDocuments::key, &EncodedDocuments::value, &EncodedDocuments::routing_key}) {
    for (const size_t layer : {0, 1}) {
      for (size_t i = 0; i < 12; ++i) {
        EncodedDocuments encoded = four_documents();
        (encoded.*list)[layer][i] = bad_values[i % 3];
        Marks wanted(4, true);
        wanted[document_of[i / 2]] = false;
        EXPECT_EQ(are_finite(encoded), wanted) << i;
      }
    }
  }
}

TEST(EncodedDocuments, WhatIsKeptStaysAsItIs) {
  const EncodedDocuments all = four_documents();
  for (unsigned choice = 0; choice < 16; ++choice) {
    std::vector<bool> is_kept;
    EncodedDocuments wanted;
    for (size_t n = 0; n < 4; ++n) {
      is_kept.push_back((choice >> n & 1U) != 0);
      if (is_kept[n]) wanted.num_chunks.push_back(all.num_chunks[n]);
    }
    const size_t document_of[] = {0, 0, 2, 3, 3, 3};
    for (const auto list :
         {&EncodedDocuments::key, &EncodedDocuments::value, &EncodedDocuments::routing_key}) {
      for (const std::vector<float>& rows : all.*list) {
        std::vector<float>& kept = (wanted.*list).emplace_back();
        for (size_t i = 0; i < 12; ++i) {
          if (is_kept[document_of[i / 2]]) kept.push_back(rows[i]);
        }
      }
    }
    EncodedDocuments encoded = all;
    keep(is_kept, encoded);
    EXPECT_EQ(encoded.num_chunks, wanted.num_chunks);
    EXPECT_EQ(encoded.key, wanted.key);
    EXPECT_EQ(encoded.value, wanted.value);
    EXPECT_EQ(encoded.routing_key, wanted.routing_key);
  }
  EncodedDocuments none;
  keep({}, none);
  EXPECT_TRUE(none.key.empty());
}

}  // namespace
}  // namespace msa::memory
