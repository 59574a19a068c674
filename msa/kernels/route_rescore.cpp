#include "msa/kernels/route_rescore.h"

#include <algorithm>
#include <limits>

#include "msa/kernels/vector_lanes.h"
#include "msa/kernels/vector_math.h"

namespace msa::kernels {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int64_t kTokensTogether = 8;  // tokens that share the widening of a key

struct Byte {
  int8_t value;
};
using kernels::widen;
MSA_INLINE float widen(Byte byte) { return static_cast<float>(byte.value); }

/// kLanes values of a key as floats.
template <int kLanes>
MSA_INLINE Floats<kLanes> widen_lanes(const BFloat16* key) {
  using Halves = typename LaneTypes<kLanes>::Halves;
  const Words<kLanes> words = __builtin_convertvector(load<Halves>(key), Words<kLanes>) << 16;
  return reinterpret_cast<Floats<kLanes>>(words);
}
template <int kLanes>
MSA_INLINE Floats<kLanes> widen_lanes(const Byte* key) {
  using Bytes = typename LaneTypes<kLanes>::Bytes;
  using Integers = typename LaneTypes<kLanes>::Integers;
  return __builtin_convertvector(__builtin_convertvector(load<Bytes>(key), Integers),
                                 Floats<kLanes>);
}

/// Largest of query[t] . key over all tokens t.
template <int kLanes, typename Key>
MSA_INLINE float score_key(const RouteScoresParams& p, const Key* key) {
  const int64_t whole = p.key_dim / kLanes * kLanes;
  float best = kLowest;
  for (int64_t first = 0; first < p.num_tokens; first += kTokensTogether) {
    const float* query[kTokensTogether];
    Floats<kLanes> sum[kTokensTogether] = {};
    for (int64_t t = 0; t < kTokensTogether; ++t) {
      query[t] = p.query + std::min(first + t, p.num_tokens - 1) * p.key_dim;
    }
    for (int64_t i = 0; i < whole; i += kLanes) {
      const auto part = widen_lanes<kLanes>(key + i);
      for (int64_t t = 0; t < kTokensTogether; ++t) {
        sum[t] += load<Floats<kLanes>>(query[t] + i) * part;
      }
    }
    for (int64_t t = 0; t < kTokensTogether; ++t) {
      float total = sum_of(sum[t]);
      for (int64_t i = whole; i < p.key_dim; ++i) total += query[t][i] * widen(key[i]);
      best = std::max(best, total);
    }
  }
  return best;
}

/// The score of a chunk without rounding the query.
template <int kLanes>
MSA_INLINE void score_chunk_lanes(const RouteScoresParams& p, int64_t chunk, float* score) {
  if (p.key_type == NumberType::kInt8) {
    const Byte* key = static_cast<const Byte*>(p.key) + chunk * p.key_dim;
    *score = score_key<kLanes>(p, key) * p.key_scale[chunk];
  } else {
    *score = score_key<kLanes>(p, static_cast<const BFloat16*>(p.key) + chunk * p.key_dim);
  }
}
MSA_VECTOR_FUNCTION(score_chunk, (const RouteScoresParams& params, int64_t chunk, float* score),
                    (params, chunk, score))

/// A document's score in float32 if that is `least` or more, else any below `least`.
float score_document(const RouteScoresParams& p, const ScannedScores& s, int64_t document,
                     float least) {
  const int64_t first = p.first_chunk[document];
  const int64_t end = p.first_chunk[document + 1];
  const int64_t likely = std::max_element(s.chunk + first, s.chunk + end) - s.chunk;
  float best = kLowest;
  const auto look = [&](int64_t chunk) {
    if (s.reach[chunk] < std::max(best, least)) return;
    float score = 0;
    score_chunk(p, chunk, &score);
    best = std::max(best, score);
  };
  look(likely);
  for (int64_t c = first; c < end; ++c) {
    if (c != likely) look(c);
  }
  return best;
}

}  // namespace

void rescore(const RouteScoresParams& p, const ScannedScores& s) {
  // The k documents that look best have k scores in float32: the k-th best of all is no lower than
  // the lowest of those.
  float least = std::numeric_limits<float>::infinity();
#pragma omp parallel for schedule(dynamic, 1) reduction(min : least)
  for (int64_t i = 0; i < p.top_k; ++i) {
    const int64_t n = p.selected[i].document;
    if (p.first_chunk[n] != p.first_chunk[n + 1]) {
      s.document[n] = score_document(p, s, n, kLowest);
      std::fill(s.reach + p.first_chunk[n], s.reach + p.first_chunk[n + 1], kLowest);
    }
    least = std::min(least, s.document[n]);
  }
  if (p.top_k == 0 || least == kLowest) return;  // none or all that have chunks
#pragma omp parallel for schedule(dynamic, 64)
  for (int64_t n = 0; n < p.num_documents; ++n) {
    for (int64_t c = p.first_chunk[n]; c < p.first_chunk[n + 1]; ++c) {
      if (s.reach[c] < least) continue;
      s.document[n] = score_document(p, s, n, least);
      break;
    }
  }
}

}  // namespace msa::kernels
