// msa bench: speed of routing, encoding and decoding. Every result is checked before it is timed.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/corpus/line_reader.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/kernels/route_tile.h"
#include "msa/kernels/top_documents.h"
#include "msa/memory/aligned_buffer.h"
#include "msa/model/session.h"
#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  int64_t layers = 18;
  int64_t chunks = 15'625;
  int64_t dim = 1024;
  int64_t tokens = 48;
  int64_t chunks_per_document = 5;
  std::string type = "bf16";
  bool is_wide = false;
  int64_t length = 512;
  int64_t batch = 8;
  int repeats = 15;
  std::string file;
  bool is_json = false;
};

struct Times {
  double median = 0;
  double best = 0;
  double worst = 0;
};

/// Seconds of `work`, after one run that does not count.
Times time(int repeats, const std::function<void()>& work) {
  std::vector<double> seconds;
  work();
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
}

/// Numbers like those of a normal distribution: sums of four uniform ones (splitmix64).
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed) {}
  float next() {
    float sum = 0;
    for (int i = 0; i < 4; ++i) {
      uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
      sum += static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1.0p-24F - 0.5F;
    }
    return sum;
  }

 private:
  uint64_t state_;
};

void normalize(std::vector<float>& rows, int64_t dim) {
  for (size_t first = 0; first < rows.size(); first += dim) {
    float sum = 0;
    for (int64_t i = 0; i < dim; ++i) sum += rows[first + i] * rows[first + i];
    for (int64_t i = 0; i < dim; ++i) rows[first + i] /= std::sqrt(sum);
  }
}

/// Scores of all documents in double precision from keys that were never rounded.
std::vector<float> reference_scores(const std::vector<float>& keys, const std::vector<float>& query,
                                    const std::vector<int64_t>& first_chunk, int64_t dim) {
  std::vector<float> scores(first_chunk.size() - 1);
  const auto num_tokens = static_cast<int64_t>(query.size()) / dim;
  parallel_for(static_cast<int64_t>(scores.size()), [&](int64_t n) {
    double best = -INFINITY;
    for (int64_t c = first_chunk[n]; c < first_chunk[n + 1]; ++c) {
      for (int64_t t = 0; t < num_tokens; ++t) {
        double dot = 0;
        for (int64_t i = 0; i < dim; ++i) {
          dot += static_cast<double>(keys[c * dim + i]) * query[t * dim + i];
        }
        best = std::max(best, dot);
      }
    }
    scores[n] = static_cast<float>(best);
  });
  return scores;
}

void bench_route(const Flags& flags) {
  if (flags.model.threads != 0) set_num_threads(flags.model.threads);
  const auto type = flags.type == "f32"    ? kernels::NumberType::kFloat32
                    : flags.type == "int8" ? kernels::NumberType::kInt8
                                           : kernels::NumberType::kBFloat16;
  kernels::set_wide_routing_only(flags.is_wide);
  Noise noise(7);
  const int64_t dim = flags.dim;
  std::vector<float> rows(flags.chunks * dim);
  for (float& value : rows) value = noise.next();
  normalize(rows, dim);
  std::vector<float> query(flags.tokens * dim);
  for (float& value : query) value = noise.next();
  normalize(query, dim);
  std::vector<int64_t> first_chunk;
  for (int64_t c = 0; c < flags.chunks; c += flags.chunks_per_document) first_chunk.push_back(c);
  first_chunk.push_back(flags.chunks);
  const int64_t layer_bytes = flags.chunks * dim * kernels::bytes_of(type);
  std::vector<memory::AlignedBuffer> keys;
  std::vector<float> scales(flags.chunks);
  for (int64_t layer = 0; layer < flags.layers; ++layer) {
    keys.emplace_back(layer_bytes);
    kernels::quantize_rows({.row = rows.data(),
                            .num_rows = flags.chunks,
                            .dim = dim,
                            .type = type,
                            .out = keys.back().data(),
                            .scale = scales.data()});
  }
  constexpr int64_t kTopK = 16;
  std::vector<kernels::ScoredDocument> selected(kTopK);
  kernels::RouteScoresParams params{.key_type = type,
                                    .key_scale = scales.data(),
                                    .first_chunk = first_chunk.data(),
                                    .query = query.data(),
                                    .num_documents = static_cast<int64_t>(first_chunk.size()) - 1,
                                    .num_tokens = flags.tokens,
                                    .key_dim = dim,
                                    .top_k = kTopK,
                                    .selected = selected.data()};
  memory::AlignedBuffer workspace(kernels::route_scores_workspace_bytes(params));
  const auto route = [&] {
    for (const auto& layer : keys) {
      params.key = layer.data();
      kernels::route_scores_cpu(params, workspace.data());
    }
  };
  route();
  std::vector<kernels::ScoredDocument> wanted(kTopK);
  kernels::select_top_documents(reference_scores(rows, query, first_chunk, dim), wanted);
  int64_t same = 0;
  int64_t same_place = 0;
  for (int64_t i = 0; i < kTopK; ++i) {
    same_place += wanted[i].document == selected[i].document;
    same += std::any_of(selected.begin(), selected.end(),
                        [&](const auto& s) { return s.document == wanted[i].document; });
  }
  const Times times = time(flags.repeats, route);
  const double bytes = static_cast<double>(layer_bytes) * static_cast<double>(flags.layers);
  const double operations =
      2.0 * static_cast<double>(flags.layers * flags.chunks * dim * flags.tokens);
  const auto* path = flags.is_wide                            ? nullptr
                     : type == kernels::NumberType::kBFloat16 ? kernels::route_path_bf16()
                     : type == kernels::NumberType::kInt8     ? kernels::route_path_int8()
                                                              : nullptr;
  const OrderedJson json{{"stage", "route"},
                         {"type", flags.type},
                         {"path", path == nullptr ? "wide" : path->name},
                         {"threads", num_threads()},
                         {"layers", flags.layers},
                         {"chunks", flags.chunks},
                         {"dim", dim},
                         {"tokens", flags.tokens},
                         {"same_documents_as_float64", same},
                         {"of", kTopK},
                         {"same_order", same_place == kTopK},
                         {"median_ms", times.median * 1e3},
                         {"best_ms", times.best * 1e3},
                         {"worst_ms", times.worst * 1e3},
                         {"gigabytes_per_second", bytes / times.median / 1e9},
                         {"gigaflops", operations / times.median / 1e9}};
  if (flags.is_json) {
    print_json(json);
  } else {
    std::printf(
        "route %s (%s), %d threads: %.2f ms median, %.2f best, %.2f worst; %.1f GB/s, %.0f "
        "GFLOP/s; "
        "%lld of %lld documents as float64%s\n",
        flags.type.c_str(), path == nullptr ? "wide" : path->name, num_threads(),
        times.median * 1e3, times.best * 1e3, times.worst * 1e3, bytes / times.median / 1e9,
        operations / times.median / 1e9, static_cast<long long>(same),
        static_cast<long long>(kTopK), same_place == kTopK ? ", same order" : "");
  }
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, Noise& noise) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto unit = (noise.next() + 2.0F) / 4.0F;
    tokens.push_back(static_cast<int32_t>(unit * static_cast<float>(vocab_size - 1)));
  }
  return tokens;
}

void report(const Flags& flags, const char* stage, const engine::LoadedModel& model, int64_t tokens,
            const Times& times) {
  const auto rate = [&](double seconds) {
    return std::round(static_cast<double>(tokens) / seconds);
  };
  const bool is_bf16 = model.transformer().precision() == model::Precision::kBFloat16;
  if (flags.is_json) {
    print_json({{"stage", stage},
                {"type", is_bf16 ? "bf16" : "f32"},
                {"threads", num_threads()},
                {"tokens", tokens},
                {"tokens_per_second", rate(times.median)},
                {"slowest", rate(times.worst)},
                {"fastest", rate(times.best)}});
  } else {
    std::printf("%s %s, %d threads: %.0f tokens/s median, %.0f slowest, %.0f fastest\n", stage,
                is_bf16 ? "bf16" : "f32", num_threads(), rate(times.median), rate(times.worst),
                rate(times.best));
  }
}

void bench_encode(const Flags& flags) {
  const auto model = flags.model.load(true);
  Noise noise(3);
  std::vector<std::vector<int32_t>> documents;
  for (int64_t n = 0; n < flags.batch; ++n) {
    documents.push_back(random_tokens(flags.length, model->config().vocab_size, noise));
  }
  // Check: side by side as each alone.
  const auto& transformer = model->transformer();
  const auto together = transformer.encode_documents(documents);
  const auto alone = transformer.encode_documents(std::span(documents).last(1));
  const auto& a = together.routing_key.back();
  const auto& b = alone.routing_key.back();
  double worst = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[a.size() - b.size() + i] - b[i])));
  }
  MSA_CHECK(worst < 1e-3, "a document encodes differently beside others, by ", worst);
  const Times times = time(flags.repeats, [&] { transformer.encode_documents(documents); });
  report(flags, "encode", *model, flags.batch * flags.length, times);
}

void bench_decode(const Flags& flags) {
  const auto model = flags.model.load(false);
  Noise noise(5);
  const auto prompt = random_tokens(32, model->config().vocab_size, noise);
  const auto tokens = random_tokens(flags.length, model->config().vocab_size, noise);
  const auto run = [&](model::Session& session) {
    for (const int32_t token : tokens) session.extend(std::span(&token, 1));
  };
  // Check: one by one as all at once.
  model::Session stepped(model->transformer(), {});
  stepped.extend(prompt);
  std::span<const float> logits;
  for (int i = 0; i < 8; ++i) logits = stepped.extend(std::span(&tokens[i], 1));
  const std::vector<float> by_steps(logits.begin(), logits.end());
  model::Session whole(model->transformer(), {});
  whole.extend(prompt);
  logits = whole.extend(std::span(tokens).first(8));
  double worst = 0;
  double largest = 0;
  for (size_t i = 0; i < by_steps.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(by_steps[i] - logits[i])));
    largest = std::max(largest, std::abs(static_cast<double>(logits[i])));
  }
  const double allowed =
      model->transformer().precision() == model::Precision::kFloat32 ? 1e-4 : 5e-2;
  MSA_CHECK(worst <= allowed * largest, "steps and prefill differ by ", worst, " of ", largest);
  const Times times = time(flags.repeats, [&] {
    model::Session session(model->transformer(), {});
    session.extend(prompt);
    run(session);
  });
  report(flags, "decode", *model, flags.length, times);
}

void bench_tokenize(const Flags& flags) {
  MSA_CHECK(!flags.model.folder.empty() && !flags.file.empty(),
            "give --model DIR and a FILE of text");
  const auto tokenizer = text::Tokenizer::load(real_file_system(), flags.model.folder);
  const std::string text = corpus::LineReader(real_file_system(), flags.file).rest();
  const auto ids = tokenizer->encode(text);
  const std::string decoded = tokenizer->decode(ids);
  MSA_CHECK(decoded == text || decoded == text::normalize_nfc(text).text,
            "the tokens give back neither the text nor its NFC");
  const Times times = time(flags.repeats, [&] { tokenizer->encode(text); });
  const auto rate = [&](double seconds) {
    return static_cast<double>(text.size()) / seconds / 1e6;
  };
  if (flags.is_json) {
    print_json({{"stage", "tokenize"},
                {"threads", 1},
                {"bytes", text.size()},
                {"tokens", ids.size()},
                {"megabytes_per_second", rate(times.median)},
                {"slowest", rate(times.worst)},
                {"fastest", rate(times.best)}});
  } else {
    std::printf(
        "tokenize, 1 thread: %.1f MB/s median, %.1f slowest, %.1f fastest; %.2f bytes a token\n",
        rate(times.median), rate(times.worst), rate(times.best),
        static_cast<double>(text.size()) / static_cast<double>(ids.size()));
  }
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App& bench = *app.add_subcommand("bench", "Speed, checked and timed");
  bench.require_subcommand(1);
  const auto add = [&](const char* name, const char* help, void (*run)(const Flags&),
                       const char* example) {
    auto flags = std::make_shared<Flags>();
    CLI::App& command = *bench.add_subcommand(name, help);
    command.add_option("--repeats", flags->repeats, "Timed runs")->capture_default_str();
    command.add_flag("--json", flags->is_json, "Print JSON");
    command.footer(example);
    command.callback([flags, run] { run(*flags); });
    return std::pair{&command, flags};
  };
  const auto [route, route_flags] =
      add("route", "Scores of all documents and the 16 best, in every layer", bench_route,
          "Example: msa bench route --type int8");
  route->add_option("--threads", route_flags->model.threads, "Threads, 0 = one per core");
  route->add_option("--layers", route_flags->layers, "Router layers")->capture_default_str();
  route->add_option("--chunks", route_flags->chunks, "Chunks in memory")->capture_default_str();
  route->add_option("--dim", route_flags->dim, "Length of a key, G * D")->capture_default_str();
  route->add_option("--tokens", route_flags->tokens, "Tokens of the question")
      ->capture_default_str();
  route->add_option("--type", route_flags->type, "f32, bf16 or int8")
      ->check(CLI::IsMember({"f32", "bf16", "int8"}))
      ->capture_default_str();
  route->add_flag("--wide", route_flags->is_wide, "Without AVX-512 BF16 and VNNI");
  const auto [encode, encode_flags] =
      add("encode", "Documents per second through the model", bench_encode,
          "Example: msa bench encode --batch 8 --length 512 --precision f32");
  encode_flags->model.add_to(*encode);
  encode->add_option("--batch", encode_flags->batch, "Documents")->capture_default_str();
  encode->add_option("--length", encode_flags->length, "Tokens of each")->capture_default_str();
  const auto [decode, decode_flags] = add("decode", "Tokens per second, one by one", bench_decode,
                                          "Example: msa bench decode --length 128");
  decode_flags->model.add_to(*decode);
  decode_flags->length = 128;
  decode->add_option("--length", decode_flags->length, "Tokens")->capture_default_str();
  const auto [tokenize, tokenize_flags] =
      add("tokenize", "Megabytes per second of one thread", bench_tokenize,
          "Example: msa bench tokenize --model models/msa-proto book.txt");
  tokenize->add_option("--model", tokenize_flags->model.folder, "Folder with a tokenizer")
      ->required();
  tokenize->add_option("FILE", tokenize_flags->file, "Text, also .zst")->required();
}

}  // namespace msa::cli
