#pragma once
// The steps of a phase in their order, each prepared ahead of its use.

#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <vector>

#include "msa/samples/batch_maker.h"
#include "msa/samples/batch_stream.h"
#include "msa/train/train_step.h"

namespace msa::train {

/// Borrows what the maker borrows. Batches are made by threads of its own; all calls come from one.
class StepSupply {
 public:
  using Prepare = std::function<PreparedStep(samples::Batch batch)>;

  StepSupply(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
             const samples::Mixture& mixture, const samples::BatchMakerOptions& options,
             Prepare prepare);

  /// Makes batches from this step on, whatever was made before.
  void open(int64_t first_step);

  /// Drops what was made ahead.
  void close();

  /// Groups for batches that are made from now on. Between close and open.
  void set_similar(std::vector<std::vector<int32_t>> groups);

  /// The next step; open must have been called. Throws what making or preparing it threw.
  PreparedStep take();

  /// Prepares what take gives next, if anybody takes it: what goes wrong in that comes out there.
  void prepare_next();

 private:
  samples::BatchMaker maker_;
  Prepare prepare_;
  std::optional<samples::BatchStream> stream_;
  std::future<PreparedStep> next_;
};

}  // namespace msa::train
