#pragma once
// Collects comparisons and prints per output the worst error and its place.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace msa::parity {

class Report {
 public:
  /// Compares numbers. The error of one comparison is its largest difference over the largest
  /// absolute value wanted. `output` names the line of the report, `place` this comparison within
  /// it.
  void compare(const std::string& output, const std::string& place, std::span<const float> got,
               std::span<const float> wanted, double tolerance);

  /// Compares lists that must be equal: ids, tokens, roles.
  void equal(const std::string& output, const std::string& place, std::span<const int64_t> got,
             std::span<const int64_t> wanted);

  /// Something that could not even be compared.
  void fail(const std::string& output, const std::string& place, const std::string& why);

  /// One line an output. True if every comparison held and there was at least one.
  bool print() const;

 private:
  struct Line {
    int64_t comparisons = 0;
    int64_t failures = 0;
    double tolerance = 0;
    double worst = -1;
    std::string worst_place;
    std::string first_failure;
  };

  std::map<std::string, Line> lines_;
  std::vector<std::string> order_;

  Line& line(const std::string& output);
};

}  // namespace msa::parity
