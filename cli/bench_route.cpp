// msa bench route: all documents scored for one question, layer after layer, as a prefill does.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/top_documents.h"
#include "msa/memory/aligned_buffer.h"

namespace msa::cli {
namespace {

constexpr int64_t kTopK = 16;
constexpr int64_t kChunksPerDocument = 5;

struct Flags {
  BenchFlags bench;
  int threads = 0;
  int64_t layers = 18;
  int64_t chunks = 15'625;
  int64_t dim = 1024;
  int64_t tokens = 48;
  std::string type = "bf16";
  bool is_wide = false;
};

/// Rows of length 1 in directions without a pattern.
std::vector<float> random_rows(int64_t count, int64_t dim, Noise& noise) {
  std::vector<float> rows(static_cast<size_t>(count * dim));
  for (float& value : rows) value = noise.next();
  for (int64_t row = 0; row < count; ++row) {
    const std::span<float> values = std::span(rows).subspan(row * dim, dim);
    float sum = 0;
    for (const float value : values) sum += value * value;
    for (float& value : values) value /= std::sqrt(sum);
  }
  return rows;
}

/// One question and one memory, whose keys stand once for every layer.
struct Task {
  kernels::NumberType type;
  int64_t dim;
  std::vector<float> rows;   // [C, F], never rounded
  std::vector<float> query;  // [T, F]
  std::vector<int64_t> first_chunk;
  std::vector<memory::AlignedBuffer> keys;  // [layers]
  std::vector<float> scales;                // [C], int8 only

  int64_t num_documents() const { return static_cast<int64_t>(first_chunk.size()) - 1; }
  int64_t num_chunks() const { return first_chunk.back(); }
};

Task make_task(const Flags& flags) {
  Task task{};
  task.type = flags.type == "f32"    ? kernels::NumberType::kFloat32
              : flags.type == "int8" ? kernels::NumberType::kInt8
                                     : kernels::NumberType::kBFloat16;
  task.dim = flags.dim;
  Noise noise(7);
  task.rows = random_rows(flags.chunks, flags.dim, noise);
  task.query = random_rows(flags.tokens, flags.dim, noise);
  for (int64_t c = 0; c < flags.chunks; c += kChunksPerDocument) task.first_chunk.push_back(c);
  task.first_chunk.push_back(flags.chunks);
  task.scales.resize(flags.chunks);
  for (int64_t layer = 0; layer < flags.layers; ++layer) {
    task.keys.emplace_back(flags.chunks * flags.dim * kernels::bytes_of(task.type));
    kernels::quantize_rows({.row = task.rows.data(),
                            .num_rows = flags.chunks,
                            .dim = flags.dim,
                            .type = task.type,
                            .out = task.keys.back().data(),
                            .scale = task.scales.data()});
  }
  return task;
}

/// The keys as they are stored, as float32: without a further rounding.
std::vector<float> stored_rows(const Task& task) {
  std::vector<float> rows(task.rows.size());
  const std::byte* key = task.keys.back().data();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (task.type == kernels::NumberType::kFloat32) {
      std::memcpy(&rows[i], key + 4 * i, 4);
    } else if (task.type == kernels::NumberType::kBFloat16) {
      std::memcpy(reinterpret_cast<std::byte*>(&rows[i]) + 2, key + 2 * i, 2);
    } else {
      rows[i] = task.scales[i / task.dim] * static_cast<float>(static_cast<int8_t>(key[i]));
    }
  }
  return rows;
}

/// Scores of all documents in double precision.
std::vector<double> reference_scores(const Task& task, const std::vector<float>& rows) {
  std::vector<double> scores(task.num_documents());
  const int64_t dim = task.dim;
  const auto num_tokens = static_cast<int64_t>(task.query.size()) / dim;
  parallel_for(task.num_documents(), [&](int64_t n) {
    double best = -INFINITY;
    for (int64_t c = task.first_chunk[n]; c < task.first_chunk[n + 1]; ++c) {
      for (int64_t t = 0; t < num_tokens; ++t) {
        double dot = 0;
        for (int64_t i = 0; i < dim; ++i) {
          dot += static_cast<double>(rows[c * dim + i]) * task.query[t * dim + i];
        }
        best = std::max(best, dot);
      }
    }
    scores[n] = best;
  });
  return scores;
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

/// How a choice compares with that of double precision.
struct Agreement {
  int64_t same = 0;            // documents that both chose
  bool is_same_order = false;  // and each at the same place
  double shortfall = 0;        // of the worst one chosen, below the last that belongs there
};

Agreement compare(const std::vector<kernels::ScoredDocument>& selected,
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

void run(const Flags& flags) {
  if (flags.threads != 0) set_num_threads(flags.threads);
  kernels::set_wide_routing_only(flags.is_wide);
  const Task task = make_task(flags);
  const int64_t top_k = std::min(kTopK, task.num_documents());
  std::vector<kernels::ScoredDocument> selected(top_k);
  kernels::RouteScoresParams params{.key_type = task.type,
                                    .key_scale = task.scales.data(),
                                    .first_chunk = task.first_chunk.data(),
                                    .query = task.query.data(),
                                    .num_documents = task.num_documents(),
                                    .num_tokens = flags.tokens,
                                    .key_dim = flags.dim,
                                    .top_k = top_k,
                                    .selected = selected.data()};
  memory::AlignedBuffer workspace(kernels::route_scores_workspace_bytes(params));
  const auto route = [&] {
    for (const auto& layer : task.keys) {
      params.key = layer.data();
      kernels::route_scores_cpu(params, workspace.data());
    }
  };
  route();
  // Check: the same documents as double precision on the stored keys; scores closer than a sum in
  // float32 can tell apart may change places.
  const auto exact = compare(selected, reference_scores(task, stored_rows(task)));
  if (!(exact.shortfall <= 4e-6)) {
    throw Error(ErrorCode::kInternal, "wrong result: ", exact.same, " of ", top_k,
                " documents as in float64 on the same keys");
  }
  const auto unrounded = compare(selected, reference_scores(task, task.rows));
  const Times times = time_runs(flags.bench, route);
  const double keys = static_cast<double>(flags.layers * flags.chunks * flags.dim);
  const double bytes = keys * static_cast<double>(kernels::bytes_of(task.type));
  const double operations = 2.0 * keys * static_cast<double>(flags.tokens);
  const auto* path = flags.is_wide                                 ? nullptr
                     : task.type == kernels::NumberType::kBFloat16 ? kernels::route_path_bf16()
                     : task.type == kernels::NumberType::kInt8     ? kernels::route_path_int8()
                                                                   : nullptr;
  const char* path_name = path == nullptr ? "wide" : path->name;
  if (flags.bench.is_json) {
    print_json({{"stage", "route"},
                {"type", flags.type},
                {"path", path_name},
                {"threads", num_threads()},
                {"layers", flags.layers},
                {"chunks", flags.chunks},
                {"dim", flags.dim},
                {"tokens", flags.tokens},
                {"same_documents_as_float64", unrounded.same},
                {"of", top_k},
                {"same_order", unrounded.is_same_order},
                {"median_ms", times.median * 1e3},
                {"best_ms", times.best * 1e3},
                {"worst_ms", times.worst * 1e3},
                {"gigabytes_per_second", bytes / times.median / 1e9},
                {"gigaflops", operations / times.median / 1e9}});
    return;
  }
  std::printf(
      "route %s (%s), %d threads: %.2f ms median, %.2f best, %.2f worst; %.1f GB/s, %.0f GFLOP/s; "
      "%lld of %lld documents as float64%s\n",
      flags.type.c_str(), path_name, num_threads(), times.median * 1e3, times.best * 1e3,
      times.worst * 1e3, bytes / times.median / 1e9, operations / times.median / 1e9,
      static_cast<long long>(unrounded.same), static_cast<long long>(top_k),
      unrounded.is_same_order ? ", same order" : "");
}

}  // namespace

void add_bench_route(CLI::App& bench) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *bench.add_subcommand("route", "Scores of all documents and the 16 best, in every layer");
  add_flag(command, "--threads", flags->threads, "Threads, 0 = one per core")
      ->check(CLI::Range(0, 4096));
  add_flag(command, "--layers", flags->layers, "Router layers")->check(CLI::Range(1, 1000));
  add_flag(command, "--chunks", flags->chunks, "Chunks in memory")
      ->check(CLI::Range(1, 1'000'000'000));
  add_flag(command, "--dim", flags->dim, "Length of a key, G * D")->check(CLI::Range(1, 65'536));
  add_flag(command, "--tokens", flags->tokens, "Tokens of the question")
      ->check(CLI::Range(1, 65'536));
  add_flag(command, "--type", flags->type, "f32, bf16 or int8")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}));
  command.add_flag("--wide", flags->is_wide, "Without AVX-512 BF16 and VNNI");
  flags->bench.add_to(command);
  command.footer("Example: msa bench route --type int8");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
