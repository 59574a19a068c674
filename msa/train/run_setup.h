#pragma once
// All that a run needs before its first step, opened and checked.

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>

#include "msa/base/file_lock.h"
#include "msa/base/file_system.h"
#include "msa/base/stop.h"
#include "msa/model/config.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"
#include "msa/train/config.h"
#include "msa/train/parameters.h"

namespace msa::train {

/// Receives lines for people: progress, and what went wrong without ending the run.
using OnLine = std::function<void(const std::string& line)>;

/// Parameters are on the device. The rest is immutable.
struct RunSetup {
  TrainConfig config;
  std::unique_ptr<FileLock> lock;  // of the output folder; null: nothing is written there
  at::Device device = at::kCPU;
  at::ScalarType type = at::kFloat;  // of activations
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::PromptLayout> layout;  // borrows the tokenizer
  std::unique_ptr<samples::TrainCorpus> corpus;
  std::unique_ptr<Parameters> parameters;

  const model::ModelConfig& model() const { return parameters->config(); }

  /// Folder that holds the tokenizer's files.
  std::filesystem::path tokenizer_folder() const;
};

struct SetUpOptions {
  bool writes = true;  // the output folder is made if it is not there, and locked
  OnLine on_line;
  StopAsked stop = {};  // asked while documents are read
};

/// Throws Error naming what does not fit: a tokenizer with more tokens than the model, a phase that
/// routes in a model without routers, a method whose routing vectors are normalised otherwise than
/// the model's, bfloat16 on a CPU; Error(kLocked) if another run writes into the output folder;
/// Error(kInterrupted) when stopped; and as what it opens.
RunSetup set_up(FileSystem& files, TrainConfig config, const SetUpOptions& options);

}  // namespace msa::train
