#include "tests/parity/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace msa::parity {

Report::Line& Report::line(const std::string& output) {
  const auto [found, is_new] = lines_.try_emplace(output);
  if (is_new) order_.push_back(output);
  return found->second;
}

void Report::fail(const std::string& output, const std::string& place, const std::string& why) {
  Line& entry = line(output);
  ++entry.comparisons;
  if (entry.failures++ == 0) entry.first_failure = place + ": " + why;
}

void Report::compare(const std::string& output, const std::string& place,
                     std::span<const float> got, std::span<const float> wanted, double tolerance) {
  Line& entry = line(output);
  entry.tolerance = tolerance;
  if (got.size() != wanted.size()) {
    fail(output, place,
         "got " + std::to_string(got.size()) + " numbers, wanted " + std::to_string(wanted.size()));
    return;
  }
  ++entry.comparisons;
  double largest = 0;
  double difference = 0;
  size_t where = 0;
  bool is_finite = true;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(wanted[i])));
    const double here = std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
    if (!std::isfinite(here) && is_finite) {
      is_finite = false;
      where = i;
    }
    if (is_finite && here > difference) {
      difference = here;
      where = i;
    }
  }
  const double error = !is_finite ? INFINITY : largest > 0 ? difference / largest : difference;
  const std::string exact_place = place + "[" + std::to_string(where) + "]";
  if (error > entry.worst) {
    entry.worst = error;
    entry.worst_place = exact_place;
  }
  if (!(error <= tolerance) && entry.failures++ == 0) {
    char text[160];
    std::snprintf(text, sizeof text, ": got %.9g, wanted %.9g",
                  wanted.empty() ? 0.0 : static_cast<double>(got[where]),
                  wanted.empty() ? 0.0 : static_cast<double>(wanted[where]));
    entry.first_failure = exact_place + text;
  }
}

void Report::equal(const std::string& output, const std::string& place,
                   std::span<const int64_t> got, std::span<const int64_t> wanted) {
  Line& entry = line(output);
  ++entry.comparisons;
  if (std::ranges::equal(got, wanted)) return;
  const auto [first, second] = std::ranges::mismatch(got, wanted);
  const auto at = [](auto position, auto end) {
    return position == end ? std::string("the end") : std::to_string(*position);
  };
  if (entry.failures++ == 0) {
    entry.first_failure = place + "[" + std::to_string(first - got.begin()) + "]: got " +
                          at(first, got.end()) + ", wanted " + at(second, wanted.end());
  }
}

bool Report::print() const {
  int64_t failures = 0;
  int64_t comparisons = 0;
  std::printf("%-38s %8s %10s %10s  %s\n", "output", "compared", "worst", "allowed", "place");
  for (const std::string& name : order_) {
    const Line& entry = lines_.at(name);
    comparisons += entry.comparisons;
    failures += entry.failures;
    if (entry.worst >= 0) {
      std::printf("%-38s %8lld %10.2e %10.0e  %s", name.c_str(),
                  static_cast<long long>(entry.comparisons), entry.worst, entry.tolerance,
                  entry.worst_place.c_str());
    } else {
      std::printf("%-38s %8lld %10s %10s  ", name.c_str(),
                  static_cast<long long>(entry.comparisons),
                  entry.failures == 0 ? "equal" : "unequal", "equal");
    }
    if (entry.failures > 0) {
      std::printf("  FAILED %lld times, first at %s", static_cast<long long>(entry.failures),
                  entry.first_failure.c_str());
    }
    std::printf("\n");
  }
  std::printf("%lld comparisons, %lld failed\n", static_cast<long long>(comparisons),
              static_cast<long long>(failures));
  return failures == 0 && comparisons > 0;
}

}  // namespace msa::parity
