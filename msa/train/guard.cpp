#include "msa/train/guard.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr size_t kFewest = 8;                // losses and lengths, before any is a spike
constexpr double kLeastDeviation = 0.01;     // of the median
constexpr double kNormalDeviation = 1.4826;  // of normal numbers, in median absolute deviations
constexpr size_t kNamesShown = 8;

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void add_names(std::ostream& out, const char* what, std::span<const std::string> names) {
  if (names.empty()) return;
  out << "; " << what << ": ";
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) {
    out << (i > 0 ? ", " : "") << names[i];
  }
  if (names.size() > kNamesShown) out << " and " << names.size() - kNamesShown << " more";
}

std::deque<double> numbers_of(const Json& state, const char* key) {
  std::deque<double> numbers;
  const Json list = state.contains(key) ? state.at(key) : Json();
  for (const Json& number : list) {
    if (!number.is_number()) break;
    numbers.push_back(number.get<double>());
  }
  if (!list.is_array() || numbers.size() != list.size()) {
    throw Error(ErrorCode::kInvalidFormat, "guard: \"", key, "\" must be a list of numbers");
  }
  return numbers;
}

}  // namespace

Guard::Guard(const GuardConfig& config) : config_(config) {}

double Guard::limit() const {
  if (config_.deviations == 0 || losses_.size() < kFewest) {
    return std::numeric_limits<double>::infinity();
  }
  const double middle = median({losses_.begin(), losses_.end()});
  std::vector<double> distances;
  for (const double loss : losses_) distances.push_back(std::abs(loss - middle));
  const double deviation =
      std::max(kNormalDeviation * median(std::move(distances)), kLeastDeviation * std::abs(middle));
  return middle + config_.deviations * deviation;
}

double Guard::norm_limit() const {
  if (config_.norm_ratio == 0 || norms_.size() < kFewest) {
    return std::numeric_limits<double>::infinity();
  }
  return config_.norm_ratio * median({norms_.begin(), norms_.end()});
}

std::string Guard::add(const StepOutcome& outcome) {
  if (outcome.is_taken) {
    num_skipped_in_row_ = 0;
    for (const auto& [values, value] :
         {std::pair{&losses_, outcome.loss}, {&norms_, outcome.gradient_norm}}) {
      values->push_back(value);
      if (static_cast<int64_t>(values->size()) > config_.window) values->pop_front();
    }
    return {};
  }
  ++num_skipped_in_row_;
  ++num_skipped_;
  std::ostringstream reason;
  if (!outcome.fault.empty()) {
    reason << outcome.fault;
  } else if (!std::isfinite(outcome.loss)) {
    reason << "the loss is " << outcome.loss;
  } else if (!std::isfinite(outcome.gradient_norm)) {
    reason << "the length of the gradient is " << outcome.gradient_norm;
  } else if (outcome.gradient_norm > norm_limit()) {
    reason << "the length of the gradient jumped to " << outcome.gradient_norm << ", at most "
           << norm_limit() << " was expected";
  } else {
    reason << "the loss jumped to " << outcome.loss << ", at most " << limit() << " was expected";
  }
  return reason.str();
}

void Guard::begin_phase() {
  losses_.clear();
  norms_.clear();
}

Json Guard::state() const {
  return {{"losses", losses_},
          {"gradient_norms", norms_},
          {"num_skipped_in_row", num_skipped_in_row_},
          {"num_skipped", num_skipped_}};
}

void Guard::restore(const Json& state) {
  constexpr int64_t kMost = int64_t{1} << 53;
  const int64_t in_row = json_integer(state, "num_skipped_in_row", 0, kMost, "guard");
  const int64_t skipped = json_integer(state, "num_skipped", 0, kMost, "guard");
  std::deque<double> losses = numbers_of(state, "losses");
  // The first checkpoints did not have them.
  std::deque<double> norms;
  if (state.contains("gradient_norms")) norms = numbers_of(state, "gradient_norms");
  losses_ = std::move(losses);
  norms_ = std::move(norms);
  num_skipped_in_row_ = in_row;
  num_skipped_ = skipped;
}

std::vector<std::string> not_finite(std::span<const NamedTensor> tensors) {
  const c10::NoGradGuard guard;
  std::vector<std::string> names;
  std::vector<at::Tensor> marks;
  for (const NamedTensor& named : tensors) {
    if (!named.tensor.defined() || !named.tensor.is_floating_point()) continue;
    names.push_back(named.name);
    marks.push_back(at::isfinite(named.tensor).all());
  }
  if (names.empty()) return names;
  const at::Tensor is_finite = at::stack(marks).cpu();
  const auto* marked = is_finite.data_ptr<bool>();
  std::vector<std::string> found;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!marked[i]) found.push_back(names[i]);
  }
  return found;
}

std::vector<std::string> not_finite_gradients(std::span<const NamedTensor> parameters) {
  std::vector<NamedTensor> gradients;
  for (const NamedTensor& parameter : parameters) {
    if (!parameter.tensor.defined()) continue;
    gradients.push_back({.name = parameter.name, .tensor = parameter.tensor.grad()});
  }
  return not_finite(gradients);
}

std::string skipped_message(const StepOutcome& outcome, const std::string& reason,
                            std::span<const std::string> tensors,
                            std::span<const std::string> samples) {
  std::ostringstream out;
  out << "step " << outcome.step << " is skipped: " << reason;
  add_names(out, "tensors", tensors);
  add_names(out, "samples", samples);
  return out.str();
}

}  // namespace msa::train
