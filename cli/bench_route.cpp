// msa bench route: all documents scored for one question, layer after layer, as a prefill does.

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "cli/bench.h"
#include "cli/command.h"
#include "cli/route_task.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/gpu_array.h"
#include "msa/kernels/route_tile.h"
#include "msa/memory/aligned_buffer.h"

namespace msa::cli {
namespace {

constexpr int64_t kTopK = 16;

struct Flags {
  BenchFlags bench;
  int threads = 0;
  int64_t layers = 18;
  int64_t chunks = 15'625;
  int64_t dim = 1024;
  int64_t tokens = 48;
  int64_t questions = 1;
  std::string type = "bf16";
  std::string device = "cpu";
  std::string exact = "gpu";
  bool is_wide = false;
};

void run_on_cpu(const Flags& flags) {
  MSA_CHECK(flags.type != "int4", "keys of int4 are routed over by GPUs: --device gpu");
  if (flags.threads != 0) set_num_threads(flags.threads);
  kernels::set_wide_routing_only(flags.is_wide);
  const RouteTask task = make_route_task(flags.type, flags.chunks, flags.dim, flags.tokens);
  std::vector<memory::AlignedBuffer> keys;  // once for every layer
  for (int64_t layer = 0; layer < flags.layers; ++layer) {
    keys.emplace_back(static_cast<int64_t>(task.stored.size()));
    std::copy(task.stored.begin(), task.stored.end(), keys.back().data());
  }
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
    for (const auto& layer : keys) {
      params.key = layer.data();
      kernels::route_scores_cpu(params, workspace.data());
    }
  };
  route();
  expect_right(selected, reference_scores(task, stored_rows(task), task.query));
  const auto unrounded = compare(selected, reference_scores(task, task.rows, task.query));
  const Times times = time_runs(flags.bench, route);
  const double num_values = static_cast<double>(flags.layers * flags.chunks * flags.dim);
  const double bytes = num_values * static_cast<double>(kernels::bytes_of(task.type));
  const double operations = 2.0 * num_values * static_cast<double>(flags.tokens);
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

/// All layers' keys in GPU memory, and one routing of all of them. With int4 keys, what they are
/// made from may be in the host's memory.
class GpuRoute {
 public:
  GpuRoute(const kernels::Gpu& gpu, const RouteTask& task, const Flags& flags)
      : gpu_(gpu), num_layers_(flags.layers), top_k_(std::min(kTopK, task.num_documents())) {
    const auto put = [&](const auto& values) {
      kernels::GpuBuffer buffer(gpu, static_cast<int64_t>(values.size() * sizeof values[0]));
      buffer.copy_from_host(values.data());
      return buffer;
    };
    std::vector<int32_t> documents;
    for (int64_t c = 0; c < task.num_chunks(); ++c) {
      documents.push_back(static_cast<int32_t>(c / kChunksPerDocument));
    }
    for (int64_t b = 0; b <= flags.questions; ++b) first_token_.push_back(b * flags.tokens);
    scales_ = put(task.scales);
    documents_ = put(documents);
    first_chunk_ = put(task.first_chunk);
    query_ = put(task.query);
    if (flags.exact == "host") {
      put_keys_on_host(task);
    } else {
      put_keys_on_gpu(task);
    }
    selected_ = kernels::GpuBuffer(
        gpu, flags.questions * top_k_ * static_cast<int64_t>(sizeof(kernels::ScoredDocument)));
    num_rescored_ = {gpu, flags.questions};
    params_ = {.key_type = task.type,
               .key_scale = reinterpret_cast<const float*>(scales_.data()),
               .document_of_chunk = reinterpret_cast<const int32_t*>(documents_.data()),
               .first_chunk = reinterpret_cast<const int64_t*>(first_chunk_.data()),
               .longest_key = 1.02F,  // of length 1 before rounding
               .query = reinterpret_cast<const float*>(query_.data()),
               .first_token = first_token_.data(),
               .num_questions = flags.questions,
               .num_documents = task.num_documents(),
               .num_chunks = task.num_chunks(),
               .key_dim = task.dim,
               .top_k = top_k_,
               .selected = reinterpret_cast<kernels::ScoredDocument*>(selected_.data()),
               .num_rescored = num_rescored_.data()};
    if (flags.type == "int4") pack_keys();
    workspace_ = kernels::GpuBuffer(gpu, gpu.library().route_batch_workspace_bytes(params_));
  }

  void route() {
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      params_.key = keys_[layer];
      if (!packed_.empty()) params_.packed.value = packed_[layer].data();
      gpu_.library().route_batch(params_, workspace_.data(), nullptr);
    }
    gpu_.library().synchronize();
  }

  /// [top_k] of the last layer, where a question is routed by itself.
  std::vector<kernels::ScoredDocument> selected_alone(int64_t question) {
    const int64_t first_token[] = {0, first_token_[question + 1] - first_token_[question]};
    kernels::RouteBatchParams params = params_;
    params.key = keys_.back();
    if (!packed_.empty()) params.packed.value = packed_.back().data();
    params.query += first_token_[question] * params.key_dim;
    params.first_token = first_token;
    params.num_questions = 1;
    gpu_.library().route_batch(params, workspace_.data(), nullptr);
    gpu_.library().synchronize();
    auto result = selected();
    result.resize(static_cast<size_t>(top_k_));
    return result;
  }

  /// Every byte of what is scanned once, and nothing else.
  void read() {
    for (const auto& rows : packed_.empty() ? gpu_keys_ : packed_) {
      gpu_.library().read_all(rows.data(), rows.size() / 16 * 16,
                              reinterpret_cast<uint32_t*>(workspace_.data()), nullptr);
    }
    gpu_.library().synchronize();
  }

  /// [questions][top_k] of the last layer.
  std::vector<kernels::ScoredDocument> selected() const {
    std::vector<kernels::ScoredDocument> result(selected_.size() / sizeof(kernels::ScoredDocument));
    selected_.copy_to_host(result.data());
    return result;
  }

  /// Chunks of the last layer that were scored again, for all questions.
  int64_t num_rescored() const {
    std::vector<int32_t> counts(num_rescored_.size());
    num_rescored_.copy_to_host(counts.data());
    return std::accumulate(counts.begin(), counts.end(), int64_t{0});
  }

  int64_t num_bytes() const {
    const auto& scanned = packed_.empty() ? gpu_keys_ : packed_;
    return num_layers_ * scanned.front().size();
  }

  int64_t top_k() const { return top_k_; }

 private:
  void put_keys_on_gpu(const RouteTask& task) {
    const auto num_bytes = static_cast<int64_t>(task.stored.size());
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      gpu_keys_.emplace_back(gpu_, num_bytes);
      const void* from = layer == 0 ? task.stored.data() : gpu_keys_.front().data();
      gpu_.library().copy(gpu_keys_.back().data(), from, num_bytes);
      keys_.push_back(gpu_keys_.back().data());
    }
  }

  /// A copy for every layer, so that none is found in a cache.
  void put_keys_on_host(const RouteTask& task) {
    const auto num_bytes = static_cast<int64_t>(task.stored.size());
    host_keys_ = kernels::PinnedBuffer(gpu_, num_layers_ * num_bytes);
    parallel_for(num_layers_, [&](int64_t layer) {
      std::copy(task.stored.begin(), task.stored.end(), host_keys_.data() + layer * num_bytes);
    });
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      keys_.push_back(host_keys_.data() + layer * num_bytes);
    }
  }

  void pack_keys() {
    packed_scales_ = {gpu_, params_.num_chunks};
    const kernels::GpuArray<float> longest(gpu_,
                                           std::span<const float>(&params_.packed.longest, 1));
    for (int64_t layer = 0; layer < num_layers_; ++layer) {
      packed_.emplace_back(gpu_, kernels::packed_key_bytes(params_.num_chunks, params_.key_dim));
      gpu_.library().pack_keys({.key_type = params_.key_type,
                                .key = keys_[layer],
                                .key_scale = params_.key_scale,
                                .num_chunks = params_.num_chunks,
                                .key_dim = params_.key_dim,
                                .value = packed_.back().data(),
                                .scale = packed_scales_.data(),
                                .longest = longest.data()},
                               nullptr);
    }
    longest.copy_to_host(&params_.packed.longest);
    params_.packed.scale = packed_scales_.data();
    params_.packed.value = packed_.front().data();
  }

  const kernels::Gpu& gpu_;
  int64_t num_layers_;
  int64_t top_k_;
  std::vector<int64_t> first_token_;
  kernels::GpuBuffer scales_;
  kernels::GpuBuffer documents_;
  kernels::GpuBuffer first_chunk_;
  kernels::GpuBuffer query_;
  std::vector<const std::byte*> keys_;  // of each layer
  std::vector<kernels::GpuBuffer> gpu_keys_;
  kernels::PinnedBuffer host_keys_;
  std::vector<kernels::GpuBuffer> packed_;
  kernels::GpuArray<float> packed_scales_;
  kernels::GpuBuffer selected_;
  kernels::GpuArray<int32_t> num_rescored_;
  kernels::GpuBuffer workspace_;
  kernels::RouteBatchParams params_;
};

/// Routes, and throws unless the first question's documents are those of double precision on the
/// stored keys, and every other question's those that it chooses by itself. Of the first
/// question's, how many double precision chooses on keys that were never rounded.
int64_t check_choices(const RouteTask& task, const Flags& flags, GpuRoute& route) {
  route.route();
  const auto selected = route.selected();
  const auto chosen = [&](int64_t question) {
    return std::span(selected).subspan(question * route.top_k(), route.top_k());
  };
  for (int64_t b = 1; b < flags.questions; ++b) {
    const auto alone = route.selected_alone(b);
    const auto is_same = [](const auto& x, const auto& y) {
      return x.document == y.document && x.score == y.score;
    };
    if (!std::equal(alone.begin(), alone.end(), chosen(b).begin(), is_same)) {
      throw Error(ErrorCode::kInternal, "wrong result: question ", b,
                  " chooses other documents in a batch than by itself");
    }
  }
  const auto query = std::span(task.query).first(flags.tokens * flags.dim);
  expect_right(chosen(0), reference_scores(task, stored_rows(task), query));
  return compare(chosen(0), reference_scores(task, task.rows, query)).same;
}

void run_on_gpu(const Flags& flags) {
  const auto gpu = kernels::Gpu::open();
  MSA_CHECK(flags.type != "f32" && !flags.is_wide,
            "the GPU routes over keys of bf16, int8 or int4, without --wide");
  MSA_CHECK(flags.type == "int4" || flags.exact == "gpu", "--exact host is of --type int4");
  const RouteTask task =
      make_route_task(flags.type, flags.chunks, flags.dim, flags.tokens * flags.questions);
  GpuRoute route(*gpu, task, flags);
  const int64_t same = check_choices(task, flags, route);
  const Times times = time_runs(flags.bench, [&] { route.route(); });
  const Times limit = time_runs(flags.bench, [&] { route.read(); });
  const auto bytes = static_cast<double>(route.num_bytes());
  if (flags.bench.is_json) {
    print_json({{"stage", "route"},
                {"type", flags.type},
                {"device", gpu->facts().name},
                {"layers", flags.layers},
                {"chunks", flags.chunks},
                {"dim", flags.dim},
                {"tokens", flags.tokens},
                {"questions", flags.questions},
                {"same_documents_as_float64", same},
                {"of", route.top_k()},
                {"questions_checked_alone", flags.questions - 1},
                {"exact", flags.exact},
                {"chunks_scored_again", route.num_rescored()},
                {"median_ms", times.median * 1e3},
                {"best_ms", times.best * 1e3},
                {"worst_ms", times.worst * 1e3},
                {"gigabytes_per_second", bytes / times.median / 1e9},
                {"limit_ms", limit.median * 1e3},
                {"ratio", times.median / limit.median}});
    return;
  }
  std::printf(
      "route %s on %s, %lld questions: %.3f ms median, %.3f best, %.3f worst; reading alone %.3f "
      "ms (%.0f GB/s), ratio %.3f; %lld chunks a layer scored again; first question: %lld of %lld "
      "documents as float64, others: as alone\n",
      flags.type.c_str(), gpu->facts().name, static_cast<long long>(flags.questions),
      times.median * 1e3, times.best * 1e3, times.worst * 1e3, limit.median * 1e3,
      bytes / limit.median / 1e9, times.median / limit.median,
      static_cast<long long>(route.num_rescored()), static_cast<long long>(same),
      static_cast<long long>(route.top_k()));
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
  add_flag(command, "--type", flags->type, "f32, bf16, int8, or int4 made of int8 (gpu)")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int4"}));
  add_flag(command, "--device", flags->device, "cpu or gpu")->check(CLI::IsMember({"cpu", "gpu"}));
  add_flag(command, "--questions", flags->questions, "Questions routed together (gpu)")
      ->check(CLI::Range(1, kernels::kMostQuestions));
  add_flag(command, "--exact", flags->exact, "Where the int8 keys of int4 are: gpu or host (gpu)")
      ->check(CLI::IsMember({"gpu", "host"}));
  command.add_flag("--wide", flags->is_wide, "Without AVX-512 BF16 and VNNI");
  flags->bench.add_to(command);
  command.footer("Example: msa bench route --type int8");
  command.callback([flags] { flags->device == "gpu" ? run_on_gpu(*flags) : run_on_cpu(*flags); });
}

}  // namespace msa::cli
