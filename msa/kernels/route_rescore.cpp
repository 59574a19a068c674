#include "msa/kernels/route_rescore.h"

#include <algorithm>
#include <limits>

#include "msa/base/threads.h"
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

/// Largest of query[t] . key over the kTokensTogether tokens from `first`.
template <int kLanes, typename Key>
MSA_INLINE float score_key(const RouteScoresParams& p, int64_t first, const Key* key) {
  const int64_t whole = p.key_dim / kLanes * kLanes;
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
  float best = kLowest;
  for (int64_t t = 0; t < kTokensTogether; ++t) {
    float total = sum_of(sum[t]);
    for (int64_t i = whole; i < p.key_dim; ++i) total += query[t][i] * widen(key[i]);
    best = std::max(best, total);
  }
  return best;
}

/// score[i] = that of chunk[i] without rounding the query. A few tokens of the query at a time stay
/// in the first cache for all chunks.
template <int kLanes>
MSA_INLINE void score_chunks_lanes(const RouteScoresParams& p, const int64_t* chunk, int64_t count,
                                   float* score) {
  std::fill_n(score, count, kLowest);
  for (int64_t first = 0; first < p.num_tokens; first += kTokensTogether) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = chunk[i] * p.key_dim;
      const float best =
          p.key_type == NumberType::kInt8
              ? score_key<kLanes>(p, first, static_cast<const Byte*>(p.key) + place)
              : score_key<kLanes>(p, first, static_cast<const BFloat16*>(p.key) + place);
      score[i] = std::max(score[i], best);
    }
  }
  if (p.key_type != NumberType::kInt8) return;
  for (int64_t i = 0; i < count; ++i) score[i] *= p.key_scale[chunk[i]];
}
MSA_VECTOR_FUNCTION(score_chunks,
                    (const RouteScoresParams& params, const int64_t* chunk, int64_t count,
                     float* score),
                    (params, chunk, count, score))

/// Chunks that wait until there are enough to score together. Of one thread, as their documents.
class Waiting {
 public:
  Waiting(const RouteScoresParams& params, const ScannedScores& scanned)
      : params_(params), scanned_(scanned) {}

  void add(int64_t document, int64_t chunk) {
    scanned_.reach[chunk] = kLowest;
    document_[count_] = document;
    chunk_[count_++] = chunk;
    if (count_ == kMost) score();
  }

  /// Raises the scores of the documents of all waiting chunks to those of the chunks.
  void score() {
    float scores[kMost];
    score_chunks(params_, chunk_, count_, scores);
    for (int64_t i = 0; i < count_; ++i) {
      float& best = scanned_.document[document_[i]];
      best = std::max(best, scores[i]);
    }
    count_ = 0;
  }

 private:
  static constexpr int64_t kMost = 32;
  const RouteScoresParams& params_;
  const ScannedScores& scanned_;
  int64_t document_[kMost];
  int64_t chunk_[kMost];
  int64_t count_ = 0;
};

/// Calls body(i) for this thread's part of [0, count): the same part every time.
template <typename Body>
void for_own(int64_t count, const Body& body) {
  const int64_t thread = omp_get_thread_num();
  const int64_t threads = omp_get_num_threads();
  const int64_t end = count * (thread + 1) / threads;
  for (int64_t i = count * thread / threads; i < end; ++i) body(i);
}

/// Scores the documents that look best in float32: their most likely chunks, then all others that
/// may be better. The lowest of the scores.
float rescore_selected(const RouteScoresParams& p, const ScannedScores& s) {
  float least = std::numeric_limits<float>::infinity();
#pragma omp parallel reduction(min : least)
  {
    Waiting waiting(p, s);
    const auto for_documents = [&](const auto& body) {
      for_own(p.top_k, [&](int64_t i) {
        const int64_t n = p.selected[i].document;
        body(n, p.first_chunk[n], p.first_chunk[n + 1]);
      });
    };
    for_documents([&](int64_t n, int64_t first, int64_t end) {
      if (first == end) return;
      s.document[n] = kLowest;
      waiting.add(n, std::max_element(s.chunk + first, s.chunk + end) - s.chunk);
    });
    waiting.score();
    for_documents([&](int64_t n, int64_t first, int64_t end) {
      const float best = s.document[n];
      for (int64_t c = first; c < end; ++c) {
        if (s.reach[c] >= best) waiting.add(n, c);
        s.reach[c] = kLowest;
      }
    });
    waiting.score();
    for_documents([&](int64_t n, int64_t, int64_t) { least = std::min(least, s.document[n]); });
  }
  return least;
}

}  // namespace

void rescore(const RouteScoresParams& p, const ScannedScores& s) {
  if (p.top_k == 0) return;
  // The k documents that look best have k scores in float32: the k-th best of all is no lower than
  // the lowest of those.
  const float least = rescore_selected(p, s);
  if (least == kLowest) return;  // all that have chunks
#pragma omp parallel
  {
    Waiting waiting(p, s);
    for_own(p.num_documents, [&](int64_t n) {
      bool is_waiting = false;
      for (int64_t c = p.first_chunk[n]; c < p.first_chunk[n + 1]; ++c) {
        if (s.reach[c] < least) continue;
        if (!is_waiting) s.document[n] = kLowest;
        is_waiting = true;
        waiting.add(n, c);
      }
    });
    waiting.score();
  }
}

}  // namespace msa::kernels
