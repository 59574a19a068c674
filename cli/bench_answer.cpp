// msa bench answer: a question in two rounds over a memory of any size.

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/bench_subject.h"
#include "cli/random_bank.h"
#include "msa/base/error.h"
#include "msa/memory/bank_source.h"
#include "msa/memory/gpu_source.h"

namespace msa::cli {
namespace {

struct AnswerFlags {
  SubjectFlags subject;
  RandomBankFlags memory;
  BenchFlags bench;
  int64_t question = 48;
  int64_t ids = 16;
  int64_t texts = 2;
  int64_t text_tokens = 500;
  int64_t prompt = 32;
  int64_t answer = 48;
};

/// What the model reads; what it writes is its own.
struct Script {
  std::vector<int32_t> question;
  std::vector<int32_t> texts;
  std::vector<int32_t> prompt;

  Script(const AnswerFlags& flags, int64_t vocab_size) {
    Noise noise(11);
    question = random_tokens(flags.question, vocab_size, noise);
    texts = random_tokens(flags.texts * flags.text_tokens, vocab_size, noise);
    prompt = random_tokens(flags.prompt, vocab_size, noise);
  }
};

struct TwoHopAnswer {
  std::vector<int32_t> ids;
  std::vector<int32_t> answer;
  std::vector<float> logits;                                 // behind all of it
  std::vector<std::vector<kernels::ScoredDocument>> chosen;  // by both rounds
  double total_ms = 0;
  double route_ms = 0;    // of prefill_ms
  double prefill_ms = 0;  // question, texts, prompt
  double write_ms = 0;
};

/// Question, routing, ids; their texts, routing again, the answer.
TwoHopAnswer answer_once(const AnswerFlags& flags, const Subject& subject,
                         const memory::ChunkSource& source, const Script& script) {
  TwoHopAnswer result;
  std::span<const float> logits;
  const auto begin = Clock::now();
  const auto session = subject.new_session(&source);
  const auto read = [&](std::span<const int32_t> tokens) {
    const auto start = Clock::now();
    std::vector<bool> routes(session->num_tokens() + tokens.size(), false);
    std::fill_n(routes.begin(), flags.question, true);
    logits = session->prefill(tokens, routes);
    result.prefill_ms += milliseconds_since(start);
    result.route_ms += session->routing().milliseconds;
    const auto& selected = session->routing().selected;
    result.chosen.insert(result.chosen.end(), selected.begin(), selected.end());
  };
  const auto write = [&](int64_t count, std::vector<int32_t>& tokens) {
    const auto start = Clock::now();
    const auto accepts = [&](int32_t token) {
      tokens.push_back(token);
      return static_cast<int64_t>(tokens.size()) < count;
    };
    session->write(logits, accepts, count - 1);
    logits = session->extend(std::span(&tokens.back(), 1));
    result.write_ms += milliseconds_since(start);
  };
  read(script.question);
  write(flags.ids, result.ids);
  read(script.texts);
  const auto start = Clock::now();
  logits = session->extend(script.prompt);
  result.prefill_ms += milliseconds_since(start);
  write(flags.answer, result.answer);
  result.total_ms = milliseconds_since(begin);
  result.logits.assign(logits.begin(), logits.end());
  return result;
}

/// Throws unless a second answer is the same, and the written tokens read all at once lead to the
/// same next token's logits as one by one.
void expect_consistent(const AnswerFlags& flags, const Subject& subject,
                       const memory::ChunkSource& source, const Script& script) {
  const TwoHopAnswer first = answer_once(flags, subject, source, script);
  const TwoHopAnswer second = answer_once(flags, subject, source, script);
  const auto same_place = [](const auto& a, const auto& b) {
    return std::ranges::equal(a, b, {}, &kernels::ScoredDocument::document,
                              &kernels::ScoredDocument::document);
  };
  if (first.answer != second.answer ||
      !std::ranges::equal(first.chosen, second.chosen, same_place)) {
    throw Error(ErrorCode::kInternal, "wrong result: two answers to one question differ");
  }
  std::vector<int32_t> all = script.question;
  all.insert(all.end(), first.ids.begin(), first.ids.end());
  all.insert(all.end(), script.texts.begin(), script.texts.end());
  std::vector<bool> routes(all.size(), false);
  std::fill_n(routes.begin(), flags.question, true);
  const auto session = subject.new_session(&source);
  session->prefill(all, routes);
  session->extend(script.prompt);
  const auto logits = session->extend(first.answer);
  double largest = 0;
  for (const float logit : first.logits) {
    largest = std::max(largest, std::abs(static_cast<double>(logit)));
  }
  const double worst = largest_difference(first.logits, logits);
  if (!(worst <= (subject.is_exact() ? 1e-3 : subject.tolerance()) * largest)) {
    throw Error(ErrorCode::kInternal, "wrong result: rounds and one pass differ by ", worst, " of ",
                largest);
  }
}

void answer(const AnswerFlags& flags) {
  const Subject subject(flags.subject, false);
  const auto bank = flags.memory.make(subject.config());
  const kernels::Gpu* gpu = subject.gpu();
  std::unique_ptr<const memory::ChunkSource> source;
  std::string place = "routing keys in memory, content made up";
  if (gpu != nullptr) {
    auto on_gpu = memory::GpuSource::load(*gpu, bank->segments(), flags.memory.gpu);
    place = to_text(on_gpu->tiers());
    source = std::move(on_gpu);
  } else {
    source = std::make_unique<memory::BankSource>(bank->segments());
  }
  const Script script(flags, subject.config().vocab_size);
  expect_consistent(flags, subject, *source, script);
  std::vector<TwoHopAnswer> runs;
  for (int i = 0; i < flags.bench.repeats; ++i) {
    runs.push_back(answer_once(flags, subject, *source, script));
  }
  std::ranges::sort(runs, {}, &TwoHopAnswer::total_ms);
  const TwoHopAnswer& median = runs[runs.size() / 2];
  const int64_t num_written = flags.ids + flags.answer;
  OrderedJson json{{"stage", "answer"},
                   {"on", subject.place()},
                   {"parameters", subject.num_parameters()},
                   {"chunks", flags.memory.chunks},
                   {"weights", std::string(subject.type())},
                   {"keys", flags.memory.key_type},
                   {"content", flags.memory.content_type},
                   {"place", place},
                   {"tokens_written", num_written},
                   {"median_ms", median.total_ms},
                   {"best_ms", runs.front().total_ms},
                   {"worst_ms", runs.back().total_ms},
                   {"prefill_ms", median.prefill_ms},
                   {"route_ms", median.route_ms},
                   {"write_ms", median.write_ms}};
  if (gpu != nullptr) {
    // What must be read: the weights for every token, the keys in both rounds.
    const double bytes =
        static_cast<double>(num_written) * subject.bytes_decoded() +
        2.0 * static_cast<double>(
                  dynamic_cast<const memory::GpuSource&>(*source).scanned_key_bytes());
    json["reading_alone_ms"] = bytes / read_limit(*gpu, flags.bench) * 1e3;
  }
  if (flags.bench.is_json) return print_json(json);
  std::printf("%s\n", place.c_str());
  std::printf(
      "answer in two rounds over %lld chunks, %s: %.1f ms median, %.1f best, %.1f worst; reading "
      "tokens %.1f ms, of it routing and fetching %.1f ms; writing %lld tokens %.1f ms",
      static_cast<long long>(flags.memory.chunks), subject.place().c_str(), median.total_ms,
      runs.front().total_ms, runs.back().total_ms, median.prefill_ms, median.route_ms,
      static_cast<long long>(num_written), median.write_ms);
  if (gpu != nullptr) {
    std::printf("; reading weights and keys alone %.1f ms", json["reading_alone_ms"].get<double>());
  }
  std::printf("\n");
}

}  // namespace

void add_bench_answer(CLI::App& bench) {
  auto flags = std::make_shared<AnswerFlags>();
  CLI::App& command = *bench.add_subcommand(
      "answer", "A question in two rounds over a random memory: route, name, read, route, answer");
  flags->subject.add_to(command);
  flags->subject.model.add_weights_to(command);
  flags->memory.add_to(command);
  const auto add_tokens = [&](const char* name, int64_t& value, const char* help) {
    add_flag(command, name, value, help)->check(CLI::Range(1, 16'384));
  };
  add_tokens("--question", flags->question, "Tokens of the question");
  add_tokens("--ids", flags->ids, "Tokens written to name documents");
  add_tokens("--texts", flags->texts, "Texts read in the second round");
  add_tokens("--text-tokens", flags->text_tokens, "Tokens of each");
  add_tokens("--answer", flags->answer, "Tokens of the answer");
  flags->bench.add_to(command);
  command.footer("Example: msa bench answer --chunks 100000");
  command.callback([flags] { answer(*flags); });
}

}  // namespace msa::cli
