// msa bench encode, msa bench decode: tokens through the model, side by side and one by one.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/bench_subject.h"
#include "msa/base/error.h"

namespace msa::cli {
namespace {

struct Flags {
  SubjectFlags subject;
  BenchFlags bench;
  int64_t length = 512;
  int64_t batch = 8;
};

/// `more`: figures of the stage, after its rates.
void report(const Flags& flags, const char* stage, const Subject& subject, int64_t tokens,
            const Times& times, const OrderedJson& more) {
  const auto rate = [&](double seconds) {
    return std::round(static_cast<double>(tokens) / seconds);
  };
  if (flags.bench.is_json) {
    OrderedJson json{{"stage", stage},
                     {"type", std::string(subject.type())},
                     {"on", subject.place()},
                     {"parameters", subject.num_parameters()},
                     {"tokens", tokens},
                     {"tokens_per_second", rate(times.median)},
                     {"slowest", rate(times.worst)},
                     {"fastest", rate(times.best)}};
    json.update(more);
    print_json(json);
  } else {
    std::printf("%s %s, %s: %.0f tokens/s median, %.0f slowest, %.0f fastest", stage,
                std::string(subject.type()).c_str(), subject.place().c_str(), rate(times.median),
                rate(times.worst), rate(times.best));
    for (const auto& [name, value] : more.items()) {
      std::printf("; %s %.3g", name.c_str(), value.get<double>());
    }
    std::printf("\n");
  }
}

void encode(const Flags& flags) {
  const Subject subject(flags.subject, true);
  Noise noise(3);
  std::vector<std::vector<int32_t>> documents;
  for (int64_t n = 0; n < flags.batch; ++n) {
    documents.push_back(random_tokens(flags.length, subject.config().vocab_size, noise));
  }
  // Check: side by side as each alone.
  const auto together = subject.encode(documents);
  const auto alone = subject.encode(std::span(documents).last(1));
  const std::span<const float> all = together.routing_key.back();
  const std::span<const float> own = alone.routing_key.back();
  const double worst = largest_difference(all.last(std::min(all.size(), own.size())), own);
  // Unit vectors; bfloat16 products of another shape add up in another order.
  if (!(worst < (subject.is_exact() ? 1e-3 : 2e-2))) {
    throw Error(ErrorCode::kInternal,
                "wrong result: a document encodes differently beside others, by ", worst);
  }
  const Times times = time_runs(flags.bench, [&] { subject.encode(documents); });
  const int64_t tokens = flags.batch * flags.length;
  const double operations =
      2 * values_met(subject.config(), false) * static_cast<double>(tokens) / times.median;
  report(flags, "encode", subject, tokens, times, {{"teraflops_of_products", operations / 1e12}});
}

void decode(const Flags& flags) {
  const Subject subject(flags.subject, false);
  Noise noise(5);
  const auto prompt = random_tokens(32, subject.config().vocab_size, noise);
  const auto tokens = random_tokens(flags.length, subject.config().vocab_size, noise);
  // Check: one by one as all at once.
  const auto few = std::span(tokens).first(std::min<size_t>(8, tokens.size()));
  const auto stepped = subject.new_session(nullptr);
  stepped->extend(prompt);
  std::span<const float> logits;
  for (const int32_t token : few) logits = stepped->extend(std::span(&token, 1));
  const std::vector<float> by_steps(logits.begin(), logits.end());
  const auto whole = subject.new_session(nullptr);
  whole->extend(prompt);
  logits = whole->extend(few);
  double largest = 0;
  for (const float logit : logits) {
    largest = std::max(largest, std::abs(static_cast<double>(logit)));
  }
  const double worst = largest_difference(by_steps, logits);
  if (!(worst <= subject.tolerance() * largest)) {
    throw Error(ErrorCode::kInternal, "wrong result: steps and prefill differ by ", worst, " of ",
                largest);
  }
  const auto session = subject.new_session(nullptr);
  logits = session->extend(prompt);
  const std::vector<float> first(logits.begin(), logits.end());
  const Times times = time_runs(flags.bench, [&] {
    session->truncate(static_cast<int64_t>(prompt.size()));
    int64_t num_written = 0;
    session->write(
        first, [&](int32_t) { return num_written++ < flags.length; }, flags.length);
  });
  const double bytes = subject.bytes_decoded();
  const double rate = bytes * static_cast<double>(flags.length) / times.median;
  OrderedJson more{{"gigabytes_per_second", rate / 1e9}};
  if (subject.gpu() != nullptr) {
    const double limit = read_limit(*subject.gpu(), flags.bench);
    more["limit_gigabytes_per_second"] = limit / 1e9;
    more["of_limit"] = rate / limit;
  }
  report(flags, "decode", subject, flags.length, times, more);
}

}  // namespace

void add_bench_model(CLI::App& bench) {
  auto encode_flags = std::make_shared<Flags>();
  CLI::App& encode_command =
      *bench.add_subcommand("encode", "Documents through the model, tokens per second");
  encode_flags->subject.add_to(encode_command);
  add_flag(encode_command, "--batch", encode_flags->batch, "Documents")->check(CLI::Range(1, 4096));
  add_flag(encode_command, "--length", encode_flags->length, "Tokens of each")
      ->check(CLI::Range(1, 65'536));
  encode_flags->bench.add_to(encode_command);
  encode_command.footer("Example: msa bench encode --batch 8 --length 512 --precision f32");
  encode_command.callback([encode_flags] { encode(*encode_flags); });

  auto decode_flags = std::make_shared<Flags>();
  decode_flags->length = 128;
  CLI::App& decode_command = *bench.add_subcommand("decode", "Tokens per second, one by one");
  decode_flags->subject.add_to(decode_command);
  decode_flags->subject.model.add_weights_to(decode_command);
  add_flag(decode_command, "--length", decode_flags->length, "Tokens")
      ->check(CLI::Range(1, 65'536));
  decode_flags->bench.add_to(decode_command);
  decode_command.footer("Example: msa bench decode --length 128");
  decode_command.callback([decode_flags] { decode(*decode_flags); });
}

}  // namespace msa::cli
