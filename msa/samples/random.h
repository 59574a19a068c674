#pragma once
// Random numbers as a function of a key: nothing is kept between steps, so that a run goes on from
// any step as if it had never stopped. Source: splitmix64, Steele and others, OOPSLA 2014.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace msa::samples {

/// Not for use by several threads at once; equal keys give equal numbers on every machine.
class Random {
 public:
  /// `key`: what the numbers are for (a batch, a purpose). Other keys give other numbers.
  Random(uint64_t seed, std::initializer_list<uint64_t> key) : state_(mixed(seed)) {
    for (const uint64_t part : key) state_ = mixed(state_ + kStep * (part + 1));
  }

  uint64_t next() {
    state_ += kStep;
    return mixed(state_);
  }

  /// In [0, 1).
  double uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

  bool chance(double share) { return uniform() < share; }

  /// In [0, count), count > 0, each alike.
  int64_t below(int64_t count) {
    const auto range = static_cast<uint64_t>(count);
    const uint64_t rest = (0 - range) % range;  // numbers below it would be drawn once more often
    for (;;) {
      const auto product = static_cast<Product>(next()) * range;
      if (static_cast<uint64_t>(product) >= rest) return static_cast<int64_t>(product >> 64U);
    }
  }

  /// In [first, last].
  int64_t between(int64_t first, int64_t last) { return first + below(last - first + 1); }

  /// One of `values`, which has one or more.
  template <typename Values>
  auto& pick(Values& values) {
    return values[static_cast<size_t>(below(static_cast<int64_t>(values.size())))];
  }

  template <typename Value>
  void shuffle(std::vector<Value>& values) {
    for (size_t i = values.size(); i > 1; --i) {
      std::swap(values[i - 1], values[static_cast<size_t>(below(static_cast<int64_t>(i)))]);
    }
  }

 private:
  __extension__ using Product = unsigned __int128;

  static constexpr uint64_t kStep = 0x9E3779B97F4A7C15;

  static uint64_t mixed(uint64_t value) {
    value = (value ^ (value >> 30U)) * 0xBF58476D1CE4E5B9;
    value = (value ^ (value >> 27U)) * 0x94D049BB133111EB;
    return value ^ (value >> 31U);
  }

  uint64_t state_;
};

}  // namespace msa::samples
