// msa bench kernels: what a GPU's kernels reach of what its memory and its products allow.

#include "cli/bench_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/bench_subject.h"
#include "msa/base/error.h"
#include "msa/kernels/gpu_graph.h"

namespace msa::cli {
namespace {

constexpr int64_t kRunsTogether = 16;
constexpr int64_t kPeakSize = 8192;

struct KernelFlags {
  SubjectFlags subject;
  BenchFlags bench;
  int64_t tokens = 16'384;
  int64_t length = 1000;
  int64_t rows = 600;
};

void bench_kernels(const KernelFlags& flags) {
  MSA_CHECK(flags.subject.model.device != "cpu", "kernels measures a GPU, not --device cpu");
  const auto gpu = kernels::Gpu::open();
  const model::ModelConfig config = flags.subject.config();
  KernelBench bench(*gpu, flags.bench);
  if (!flags.bench.is_json) {
    std::printf("%s: reads %.0f GB/s, copies %.0f GB/s, multiplies %.0f TFLOP/s\n",
                gpu->facts().name, bench.limits().read / 1e9, bench.limits().copy / 1e9,
                bench.limits().products / 1e12);
  }
  bench_pass_kernels(bench, config, flags.tokens, flags.length);
  bench_step_kernels(bench, config, flags.rows);
}

}  // namespace

KernelBench::KernelBench(const kernels::Gpu& gpu, const BenchFlags& flags)
    : gpu_(gpu), flags_(flags), stream_(gpu) {
  limits_.read = read_limit(gpu, flags);
  const kernels::GpuBuffer from(gpu, int64_t{1} << 30);
  const kernels::GpuBuffer to(gpu, from.size());
  const auto copies =
      time([&](int64_t) { library().copy_async(to.data(), from.data(), from.size(), stream()); });
  limits_.copy = 2 * static_cast<double>(from.size()) / (copies.best / 1e3);
  const auto a = bfloat16s(kPeakSize * kPeakSize, 0.1F);
  const auto b = bfloat16s(kPeakSize * kPeakSize, 0.1F);
  const kernels::GpuArray<BFloat16> out(gpu, kPeakSize * kPeakSize);
  const kernels::GpuBuffer workspace(gpu, kernels::kDeviceGemmWorkspaceBytes);
  const auto products = time([&](int64_t) {
    library().device_gemm({.x = a.device.data(),
                           .weight = b.device.data(),
                           .out = out.data(),
                           .num_rows = kPeakSize,
                           .num_outputs = kPeakSize,
                           .num_columns = kPeakSize},
                          workspace.data(), stream());
  });
  limits_.products = 2 * std::pow(kPeakSize, 3) / (products.median / 1e3);
}

HostAndDevice<float> KernelBench::floats(int64_t count, float scale) {
  std::vector<float> values(count);
  for (float& value : values) value = noise_.next() * scale;
  return {gpu_, std::move(values)};
}

HostAndDevice<BFloat16> KernelBench::bfloat16s(int64_t count, float scale) {
  constexpr int64_t kPattern = 1'000'003;  // a prime number of values, again and again
  std::vector<BFloat16> values(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = i < kPattern ? to_bfloat16(noise_.next() * scale) : values[i - kPattern];
  }
  return {gpu_, std::move(values)};
}

void KernelBench::expect_near(const std::string& kernel, std::span<const float> got,
                              std::span<const float> wanted, double tolerance) {
  MSA_CHECK(got.size() == wanted.size() && !got.empty(), kernel, ": nothing to compare");
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - wanted[i]);
    if (!(difference <= tolerance * (1 + std::abs(static_cast<double>(wanted[i]))))) {
      throw Error(ErrorCode::kInternal, "wrong result: ", kernel, " at ", i, ": ", got[i],
                  ", wanted ", wanted[i]);
    }
  }
}

Times KernelBench::time(const std::function<void(int64_t)>& work) {
  kernels::GpuTimer timer(gpu_);
  std::vector<double> milliseconds;
  int64_t number = 0;
  for (int repeat = 0; repeat <= flags_.repeats; ++repeat) {  // the first does not count
    timer.start(stream());
    for (int64_t i = 0; i < kRunsTogether; ++i) work(number++);
    timer.stop(stream());
    stream_.synchronize();
    if (repeat > 0) milliseconds.push_back(timer.milliseconds() / kRunsTogether);
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  return {milliseconds[milliseconds.size() / 2], milliseconds.front(), milliseconds.back()};
}

void KernelBench::report(const std::string& kernel, const char* unit, double amount, double limit,
                         const std::function<void(int64_t)>& work) {
  const Times times = time(work);
  const double rate = amount / (times.median / 1e3);
  const double size = std::string_view(unit) == "TFLOP/s" ? 1e12 : 1e9;
  if (flags_.is_json) {
    print_json({{"stage", "kernel"},
                {"kernel", kernel},
                {"on", gpu_.facts().name},
                {"median_us", times.median * 1e3},
                {"best_us", times.best * 1e3},
                {"worst_us", times.worst * 1e3},
                {"unit", unit},
                {"rate", rate / size},
                {"limit", limit / size},
                {"of_limit", rate / limit}});
    return;
  }
  std::printf("%-44s %9.1f us (%.1f to %.1f)  %6.0f %s  %3.0f %% of %.0f\n", kernel.c_str(),
              times.median * 1e3, times.best * 1e3, times.worst * 1e3, rate / size, unit,
              100 * rate / limit, limit / size);
}

void add_bench_kernels(CLI::App& bench) {
  auto flags = std::make_shared<KernelFlags>();
  CLI::App& command = *bench.add_subcommand(
      "kernels", "A GPU's kernels one by one, beside what its memory and products allow");
  flags->subject.add_to(command);
  add_flag(command, "--tokens", flags->tokens, "Of documents, in one pass")
      ->check(CLI::Range(1, 262'144));
  add_flag(command, "--length", flags->length, "Tokens of a document")
      ->check(CLI::Range(1, 65'536));
  add_flag(command, "--rows", flags->rows, "Of a session's cache, for one decoding step")
      ->check(CLI::Range(1, 1'000'000));
  flags->bench.add_to(command);
  command.footer("Example: msa bench kernels --shape bench/shapes/msa-4b.json");
  command.callback([flags] { bench_kernels(*flags); });
}

}  // namespace msa::cli
