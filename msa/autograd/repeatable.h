#pragma once
// Operations of torch that give the same bits every time.

#include <ATen/Context.h>

namespace msa::autograd {

/// While one lives, operations take those of their ways that repeat bit for bit, and those
/// that have none throw. A setting of the process: for one thread at a time.
class RepeatableScope {
 public:
  RepeatableScope()
      : is_asked_(at::globalContext().deterministicAlgorithms()),
        only_warns_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        fills_(at::globalContext().deterministicFillUninitializedMemory()) {
    // Flash attention takes a mere warning for a no.
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);
  }
  ~RepeatableScope() {
    at::globalContext().setDeterministicAlgorithms(is_asked_, only_warns_);
    at::globalContext().setDeterministicFillUninitializedMemory(fills_);
  }
  RepeatableScope(const RepeatableScope&) = delete;
  RepeatableScope& operator=(const RepeatableScope&) = delete;

 private:
  bool is_asked_;
  bool only_warns_;
  bool fills_;
};

}  // namespace msa::autograd
