#include "msa/train/step_supply.h"

#include <utility>

namespace msa::train {
namespace {

constexpr int64_t kBatchThreads = 6;

}  // namespace

StepSupply::StepSupply(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
                       const samples::Mixture& mixture, const samples::BatchMakerOptions& options,
                       Prepare prepare)
    : maker_(corpus, layout, mixture, options), prepare_(std::move(prepare)) {}

void StepSupply::open(int64_t first_step) {
  close();
  stream_.emplace(
      [this](int64_t step) { return maker_.make(step); },
      samples::BatchStreamOptions{.first_step = first_step, .num_threads = kBatchThreads});
}

void StepSupply::close() {
  next_ = std::future<PreparedStep>();
  stream_.reset();
}

void StepSupply::set_similar(std::vector<std::vector<int32_t>> groups) {
  maker_.set_similar(std::move(groups));
}

PreparedStep StepSupply::take() {
  if (!next_.valid()) prepare_next();
  return next_.get();
}

void StepSupply::prepare_next() {
  std::packaged_task<PreparedStep()> task([this] { return prepare_(stream_->next()); });
  next_ = task.get_future();
  task();
}

}  // namespace msa::train
