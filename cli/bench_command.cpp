// msa bench: speed of routing, encoding, decoding, tokenizing and training. Every result is checked
// before it is timed.

#include <algorithm>
#include <chrono>

#include "cli/bench.h"
#include "cli/command.h"

namespace msa::cli {

void BenchFlags::add_to(CLI::App& command) {
  add_flag(command, "--repeats", repeats, "Timed runs")->check(CLI::Range(1, 1'000'000));
  command.add_flag("--json", is_json, "Print JSON");
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Times time_runs(const BenchFlags& flags, const std::function<void()>& work) {
  std::vector<double> seconds;
  work();
  for (int i = 0; i < flags.repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
}

float Noise::next() {
  float sum = 0;
  for (int i = 0; i < 4; ++i) {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    sum += static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1.0p-24F - 0.5F;
  }
  return sum;
}

void add_bench(CLI::App& app) {
  CLI::App& bench = *app.add_subcommand("bench", "Speed, checked and timed");
  bench.require_subcommand(1);
  bench.footer("Example: msa bench route --type int8");
  add_bench_route(bench);
  add_bench_model(bench);
  add_bench_fetch(bench);
  add_bench_answer(bench);
  add_bench_kernels(bench);
  add_bench_tokenize(bench);
  add_bench_train(bench);
}

}  // namespace msa::cli
