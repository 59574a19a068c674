// msa bench encode, msa bench decode: tokens through the model, side by side and one by one.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/bench.h"
#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/model/session.h"

namespace msa::cli {
namespace {

struct Flags {
  ModelFlags model;
  BenchFlags bench;
  int64_t length = 512;
  int64_t batch = 8;
};

std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, Noise& noise) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto unit = (noise.next() + 2.0F) / 4.0F;
    tokens.push_back(static_cast<int32_t>(unit * static_cast<float>(vocab_size - 1)));
  }
  return tokens;
}

/// Largest difference of two lists, NaN if a value is; they must be of one length.
double largest_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= largest)) largest = difference;
    if (std::isnan(difference)) return difference;
  }
  return largest;
}

void report(const Flags& flags, const char* stage, const engine::LoadedModel& model, int64_t tokens,
            const Times& times) {
  const auto rate = [&](double seconds) {
    return std::round(static_cast<double>(tokens) / seconds);
  };
  const bool is_bf16 = model.transformer().precision() == model::Precision::kBFloat16;
  if (flags.bench.is_json) {
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

void encode(const Flags& flags) {
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
  const std::span<const float> all = together.routing_key.back();
  const std::span<const float> own = alone.routing_key.back();
  const double worst = largest_difference(all.last(std::min(all.size(), own.size())), own);
  // Unit vectors; bfloat16 products of another shape add up in another order.
  const bool is_bf16 = transformer.precision() == model::Precision::kBFloat16;
  if (!(worst < (is_bf16 ? 4e-3 : 1e-3))) {
    throw Error(ErrorCode::kInternal,
                "wrong result: a document encodes differently beside others, by ", worst);
  }
  const Times times = time_runs(flags.bench, [&] { transformer.encode_documents(documents); });
  report(flags, "encode", *model, flags.batch * flags.length, times);
}

void decode(const Flags& flags) {
  const auto model = flags.model.load(false);
  Noise noise(5);
  const auto prompt = random_tokens(32, model->config().vocab_size, noise);
  const auto tokens = random_tokens(flags.length, model->config().vocab_size, noise);
  // Check: one by one as all at once.
  const auto few = std::span(tokens).first(std::min<size_t>(8, tokens.size()));
  model::Session stepped(model->transformer(), {});
  stepped.extend(prompt);
  std::span<const float> logits;
  for (const int32_t token : few) logits = stepped.extend(std::span(&token, 1));
  const std::vector<float> by_steps(logits.begin(), logits.end());
  model::Session whole(model->transformer(), {});
  whole.extend(prompt);
  logits = whole.extend(few);
  double largest = 0;
  for (const float logit : logits) {
    largest = std::max(largest, std::abs(static_cast<double>(logit)));
  }
  const double worst = largest_difference(by_steps, logits);
  const double allowed =
      model->transformer().precision() == model::Precision::kFloat32 ? 1e-4 : 5e-2;
  if (!(worst <= allowed * largest)) {
    throw Error(ErrorCode::kInternal, "wrong result: steps and prefill differ by ", worst, " of ",
                largest);
  }
  const Times times = time_runs(flags.bench, [&] {
    model::Session session(model->transformer(), {});
    session.extend(prompt);
    for (const int32_t token : tokens) session.extend(std::span(&token, 1));
  });
  report(flags, "decode", *model, flags.length, times);
}

}  // namespace

void add_bench_model(CLI::App& bench) {
  auto encode_flags = std::make_shared<Flags>();
  CLI::App& encode_command =
      *bench.add_subcommand("encode", "Documents through the model, tokens per second");
  encode_flags->model.add_to(encode_command);
  add_flag(encode_command, "--batch", encode_flags->batch, "Documents")->check(CLI::Range(1, 4096));
  add_flag(encode_command, "--length", encode_flags->length, "Tokens of each")
      ->check(CLI::Range(1, 65'536));
  encode_flags->bench.add_to(encode_command);
  encode_command.footer("Example: msa bench encode --batch 8 --length 512 --precision f32");
  encode_command.callback([encode_flags] { encode(*encode_flags); });

  auto decode_flags = std::make_shared<Flags>();
  decode_flags->length = 128;
  CLI::App& decode_command = *bench.add_subcommand("decode", "Tokens per second, one by one");
  decode_flags->model.add_to(decode_command);
  add_flag(decode_command, "--length", decode_flags->length, "Tokens")
      ->check(CLI::Range(1, 65'536));
  decode_flags->bench.add_to(decode_command);
  decode_command.footer("Example: msa bench decode --length 128");
  decode_command.callback([decode_flags] { decode(*decode_flags); });
}

}  // namespace msa::cli
