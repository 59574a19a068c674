#pragma once
// Random documents, encoded by no model: what tests of banks are fed with.

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "msa/memory/bank_facts.h"
#include "msa/memory/encoded_documents.h"

namespace msa::memory {

/// What BankWriter::commit takes.
struct RandomBatch {
  std::vector<Document> documents;
  EncodedDocuments encoded;
};

struct RandomBatchOptions {
  int64_t first_id = 1;
  int64_t num_documents = 1;
  int64_t max_passages = 1;  // of a document: from one to these
  int64_t max_chunks = 3;    // of a passage: from one to these
  uint32_t seed = 0;
};

/// The same options give the same batch. Documents are called "doc-<id of the first passage>".
inline RandomBatch make_random_batch(const MemoryShape& shape, const RandomBatchOptions& options) {
  std::mt19937 random(options.seed);
  const auto up_to = [&](int64_t most) {
    return 1 + static_cast<int64_t>(random() % static_cast<uint32_t>(most));
  };
  RandomBatch batch;
  EncodedDocuments& encoded = batch.encoded;
  for (auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
    layers->resize(static_cast<size_t>(shape.num_layers));
  }
  int64_t id = options.first_id;
  for (int64_t n = 0; n < options.num_documents; ++n) {
    Document document{.row = 0,
                      .name = "doc-" + std::to_string(id),
                      .title = "Title " + std::to_string(id),
                      .text = {},
                      .attributes = R"({"n":)" + std::to_string(n) + "}",
                      .source = "random",
                      .passages = {}};
    for (int64_t left = up_to(options.max_passages); left > 0; --left, ++id) {
      const auto start = static_cast<int64_t>(document.text.size());
      document.text += "text of passage " + std::to_string(id) + ". ";
      const int64_t chunks = up_to(options.max_chunks);
      document.passages.push_back({.id = id,
                                   .document = 0,
                                   .start = start,
                                   .end = static_cast<int64_t>(document.text.size()),
                                   .tokens = chunks * shape.chunk_tokens,
                                   .chunks = chunks,
                                   .segment = 0});
      encoded.num_chunks.push_back(chunks);
      for (auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
        for (std::vector<float>& rows : *layers) {
          for (int64_t i = 0; i < chunks * shape.key_dim(); ++i) {
            rows.push_back(static_cast<float>(random()) * 0x1p-31F - 1.0F);
          }
        }
      }
    }
    batch.documents.push_back(std::move(document));
  }
  return batch;
}

}  // namespace msa::memory
