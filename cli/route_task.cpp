#include "cli/route_task.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cli/bench.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/quantize_rows.h"

namespace msa::cli {
namespace {

std::vector<float> random_rows(int64_t count, int64_t dim, uint64_t seed) {
  std::vector<float> rows(static_cast<size_t>(count * dim));
  parallel_for(count, [&](int64_t row) {
    Noise noise((seed << 32) + static_cast<uint64_t>(row));
    const std::span<float> values = std::span(rows).subspan(row * dim, dim);
    float sum = 0;
    for (float& value : values) {
      value = noise.next();
      sum += value * value;
    }
    for (float& value : values) value /= std::sqrt(sum);
  });
  return rows;
}

/// The places of the `count` best scores, best first.
std::vector<int64_t> best_of(const std::vector<double>& scores, int64_t count) {
  std::vector<int64_t> places(scores.size());
  for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<int64_t>(i);
  std::partial_sort(places.begin(), places.begin() + count, places.end(), [&](auto a, auto b) {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  });
  places.resize(count);
  return places;
}

}  // namespace

RouteTask make_route_task(const std::string& type, int64_t chunks, int64_t dim, int64_t tokens) {
  RouteTask task;
  task.type = type == "f32"    ? kernels::NumberType::kFloat32
              : type == "bf16" ? kernels::NumberType::kBFloat16
                               : kernels::NumberType::kInt8;
  task.dim = dim;
  task.rows = random_rows(chunks, dim, 7);
  task.query = random_rows(tokens, dim, 8);
  for (int64_t c = 0; c < chunks; c += kChunksPerDocument) task.first_chunk.push_back(c);
  task.first_chunk.push_back(chunks);
  task.scales.resize(chunks);
  const int64_t row_bytes = dim * kernels::bytes_of(task.type);
  task.stored.resize(chunks * row_bytes);
  parallel_for(task.num_documents(), [&](int64_t n) {
    const int64_t first = task.first_chunk[n];
    kernels::quantize_rows({.row = task.rows.data() + first * dim,
                            .num_rows = task.first_chunk[n + 1] - first,
                            .dim = dim,
                            .type = task.type,
                            .out = task.stored.data() + first * row_bytes,
                            .scale = task.scales.data() + first});
  });
  return task;
}

std::vector<float> stored_rows(const RouteTask& task) {
  std::vector<float> rows(task.rows.size());
  const std::byte* key = task.stored.data();
  const auto dim = static_cast<size_t>(task.dim);
  parallel_for(task.num_chunks(), [&](int64_t chunk) {
    for (size_t i = chunk * dim; i < (chunk + 1) * dim; ++i) {
      if (task.type == kernels::NumberType::kFloat32) {
        std::memcpy(&rows[i], key + 4 * i, 4);
      } else if (task.type == kernels::NumberType::kBFloat16) {
        std::memcpy(reinterpret_cast<std::byte*>(&rows[i]) + 2, key + 2 * i, 2);
      } else {
        rows[i] = task.scales[chunk] * static_cast<float>(static_cast<int8_t>(key[i]));
      }
    }
  });
  return rows;
}

std::vector<double> reference_scores(const RouteTask& task, const std::vector<float>& rows,
                                     std::span<const float> query) {
  constexpr int64_t kTogether = 4;  // tokens that read a key together; the last ones are repeated
  const int64_t dim = task.dim;
  const auto num_tokens = static_cast<int64_t>(query.size()) / dim;
  const std::vector<double> exact(query.begin(), query.end());
  std::vector<double> scores(task.num_documents());
  parallel_for(task.num_documents(), [&](int64_t n) {
    double best = -INFINITY;
    std::vector<double> key(dim);
    for (int64_t c = task.first_chunk[n]; c < task.first_chunk[n + 1]; ++c) {
      std::copy_n(rows.begin() + c * dim, dim, key.begin());
      for (int64_t t = 0; t < num_tokens; t += kTogether) {
        const auto token = [&](int64_t i) {
          return exact.data() + std::min(t + i, num_tokens - 1) * dim;
        };
        const double* q[kTogether] = {token(0), token(1), token(2), token(3)};
        double a = 0;
        double b = 0;
        double e = 0;
        double d = 0;
#pragma omp simd reduction(+ : a, b, e, d)
        for (int64_t i = 0; i < dim; ++i) {
          a += key[i] * q[0][i];
          b += key[i] * q[1][i];
          e += key[i] * q[2][i];
          d += key[i] * q[3][i];
        }
        best = std::max({best, a, b, e, d});
      }
    }
    scores[n] = best;
  });
  return scores;
}

Agreement compare(std::span<const kernels::ScoredDocument> selected,
                  const std::vector<double>& scores) {
  Agreement agreement;
  const auto wanted = best_of(scores, static_cast<int64_t>(selected.size()));
  std::vector<int64_t> chosen;
  for (const auto& [document, score] : selected) {
    const bool is_new = std::find(chosen.begin(), chosen.end(), document) == chosen.end();
    if (!is_new || document < 0 || document >= static_cast<int64_t>(scores.size())) {
      agreement.shortfall = INFINITY;
      return agreement;
    }
    chosen.push_back(document);
    agreement.shortfall = std::max(agreement.shortfall, scores[wanted.back()] - scores[document]);
  }
  agreement.is_same_order = chosen == wanted;
  for (const int64_t document : wanted) {
    agreement.same += std::find(chosen.begin(), chosen.end(), document) != chosen.end();
  }
  return agreement;
}

void expect_right(std::span<const kernels::ScoredDocument> selected,
                  const std::vector<double>& scores) {
  const Agreement exact = compare(selected, scores);
  if (!(exact.shortfall <= 4e-6)) {
    throw Error(ErrorCode::kInternal, "wrong result: ", exact.same, " of ", selected.size(),
                " documents as in float64 on the same keys");
  }
}

}  // namespace msa::cli
