#pragma once
// What an input of segment_fuzz means: what the bank's facts and catalog say of a segment, and the
// segment, of which a run of equal bytes may be left out, so that small inputs make large files.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::fuzz {

constexpr char kSegmentFiller = 1;

/// The first bytes of an input.
struct SegmentPrefix {
  uint8_t content_type = 0;
  uint8_t key_type = 0;
  uint8_t passages = 0;
  uint8_t filler = 0;  // blocks of kDigestBlockBytes before the digest table, modulo 4
  uint16_t chunks = 0;
  uint8_t keeps_digests = 0;  // odd: else they are those that the blocks have
  uint8_t is_damaged = 0;     // odd: a byte is another one than was written
  uint16_t damage = 0;        // where, of 65,536
};

constexpr size_t kPrefixBytes = sizeof(SegmentPrefix);

/// The facts that segments of every input go by, but for the types.
inline memory::BankFacts segment_facts() {
  return {.model_fingerprint = "m",
          .tokenizer_fingerprint = "t",
          .model_name = "test",
          .shape = {.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4},
          .max_passage_tokens = 100};
}

inline size_t filler_blocks(const SegmentPrefix& prefix) { return prefix.filler % 4; }

/// Of the digest table at the end, if there is less than a block besides the filler.
inline size_t table_bytes(const SegmentPrefix& prefix) {
  return (filler_blocks(prefix) + 1) * sizeof(storage::Digest);
}

inline std::string with_filler(const SegmentPrefix& prefix, std::string file) {
  if (filler_blocks(prefix) > 0 && file.size() > table_bytes(prefix)) {
    file.insert(file.size() - table_bytes(prefix),
                filler_blocks(prefix) * storage::kDigestBlockBytes, kSegmentFiller);
  }
  return file;
}

inline std::string without_filler(const SegmentPrefix& prefix, std::string file) {
  const size_t filler = filler_blocks(prefix) * storage::kDigestBlockBytes;
  if (filler > 0 && file.size() > table_bytes(prefix) + filler) {
    file.erase(file.size() - table_bytes(prefix) - filler, filler);
  }
  return file;
}

inline std::string prefix_bytes(const SegmentPrefix& prefix) {
  return {reinterpret_cast<const char*>(&prefix), sizeof prefix};
}

inline SegmentPrefix prefix_of(std::string_view input) {
  SegmentPrefix prefix;
  std::memcpy(&prefix, input.data(), sizeof prefix);
  return prefix;
}

/// The digests that blocks of such bytes have.
inline std::string digest_table(std::string_view digested) {
  const auto bytes = std::as_bytes(std::span(digested));
  std::string table;
  for (size_t first = 0; first < bytes.size(); first += storage::kDigestBlockBytes) {
    const storage::Digest digest = storage::digest_of(
        bytes.subspan(first, std::min<size_t>(storage::kDigestBlockBytes, bytes.size() - first)));
    table.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  return table;
}

/// The file as it was written.
inline std::string segment_of(const SegmentPrefix& prefix, std::string_view input) {
  std::string file = with_filler(prefix, std::string(input));
  const auto digested = storage::digested_bytes_of(file.size());
  if (prefix.keeps_digests % 2 == 1 || !digested) return file;
  return file.substr(0, *digested) + digest_table(std::string_view(file).substr(0, *digested));
}

}  // namespace msa::fuzz
