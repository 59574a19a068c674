#pragma once
// What the child commits, so that its parent can tell whether all of it is there.

#include <cstdint>

#include "msa/memory/bank_facts.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {

inline BankFacts crash_facts() {
  return {.model_fingerprint = "m",
          .tokenizer_fingerprint = "t",
          .model_name = "crash",
          .shape = {.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4},
          .max_passage_tokens = 1000,
          .key_type = kernels::NumberType::kBFloat16,
          .content_type = kernels::ContentType::kFloat32};
}

/// The one batch that may begin with a passage id: up to five documents of up to three passages.
inline RandomBatch crash_batch(int64_t first_id) {
  return make_random_batch(crash_facts().shape, {.first_id = first_id,
                                                 .num_documents = 1 + first_id * 7 % 5,
                                                 .max_passages = 3,
                                                 .max_chunks = 40,
                                                 .seed = static_cast<uint32_t>(first_id)});
}

}  // namespace msa::memory
