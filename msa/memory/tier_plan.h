#pragma once
// Where the parts of a bank are kept when a GPU computes with it.

#include <cstdint>
#include <string>

namespace msa::memory {

enum class ContentPlace { kGpu, kHost, kDisk };

/// What a bank takes in the form that a GPU reads.
struct TierSizes {
  int64_t key_bytes = 0;         // what routing reads of all keys, and tables: always on the GPU
  int64_t stored_key_bytes = 0;  // keys of which routing reads a few: on the GPU if they fit, else
                                 // in the host's memory
  int64_t content_bytes = 0;     // all records
  int64_t record_bytes = 0;      // of the largest record
  int64_t num_documents = 0;
};

struct Tiers {
  ContentPlace content = ContentPlace::kGpu;
  int64_t key_bytes = 0;       // on the GPU
  int64_t host_key_bytes = 0;  // in pinned memory of the host
  int64_t content_bytes = 0;   // all of it, where `content` says
  int64_t cache_slots = 0;     // documents that the GPU keeps beside content that is not on it
  int64_t cache_bytes = 0;     // of the slots and their table
  int64_t staging_slots = 0;   // records that are read from disk together, 16 at most
};

/// Keys go before content. Content goes to the GPU if all of it fits behind the keys; else to
/// pinned memory of the host, or stays on disk, and the rest of the GPU's budget holds the
/// documents that were chosen last. Where these would have no room for the documents that one layer
/// may choose and content is on disk, stored keys go to the host's memory if they fit there. Throws
/// Error(kDevice) with the bytes wanted and given if keys do not fit, or if there still is no room
/// for these documents.
Tiers plan_tiers(const TierSizes& sizes, int64_t gpu_bytes, int64_t host_bytes);

/// One line for people.
std::string to_text(const Tiers& tiers);

}  // namespace msa::memory
