#pragma once
// What the parts of msa bench share: repeats, times, and numbers without a pattern.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

namespace msa::cli {

struct BenchFlags {
  int repeats = 15;
  bool is_json = false;

  void add_to(CLI::App& command);
};

/// Seconds.
struct Times {
  double median = 0;
  double best = 0;
  double worst = 0;
};

using Clock = std::chrono::steady_clock;
double milliseconds_since(Clock::time_point start);

/// Times `work`, after one run that does not count.
Times time_runs(const BenchFlags& flags, const std::function<void()>& work);

/// Numbers like those of a normal distribution, in [-2, 2): sums of four uniform ones (splitmix64).
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed) {}
  float next();

 private:
  uint64_t state_;
};

// One function a part: adds its subcommands to msa bench.
void add_bench_route(CLI::App& bench);
void add_bench_model(CLI::App& bench);
void add_bench_fetch(CLI::App& bench);
void add_bench_answer(CLI::App& bench);
void add_bench_kernels(CLI::App& bench);
void add_bench_tokenize(CLI::App& bench);
void add_bench_train(CLI::App& bench);

}  // namespace msa::cli
