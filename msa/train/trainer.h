#pragma once
// A training run: the phases of a config one after the other, watched, logged, and never lost.

#include <memory>
#include <vector>

#include "msa/base/stop.h"
#include "msa/train/checkpoint.h"
#include "msa/train/evaluation.h"
#include "msa/train/run_log.h"
#include "msa/train/run_setup.h"
#include "msa/train/step_supply.h"
#include "msa/train/train_step.h"

namespace msa::train {

/// Writes into the config's output folder: checkpoints/, log.jsonl, report.html, and model/ at the
/// end. One thread at a time.
class Trainer {
 public:
  /// Resumes from the newest checkpoint that verifies if `resumes`; there may be none. Says which
  /// keys of the config are not those of the checkpoint. `setup` holds the lock of the folder.
  /// Throws Error(kInvalidArgument) if the folder holds a run already and `resumes` is false,
  /// Error(kMismatch) if the checkpoint is of another model, or as expect_room.
  Trainer(FileSystem& files, RunSetup setup, bool resumes, OnLine on_line);

  /// Trains until the last phase ends, and returns true; or until it is stopped, in a step, an
  /// evaluation or a search for groups, and returns false with a checkpoint written: what was not
  /// done behind its step is done when the run goes on. Throws Error(kInternal) after too many
  /// skipped steps one after the other: the last checkpoint is from before them.
  bool run(const StopAsked& stop);

 private:
  const PhaseConfig& phase() const;

  void resume(Checkpoint saved);
  void run_phase();
  void begin_phase();
  std::vector<std::vector<int32_t>> groups_by_words() const;
  bool is_to_mine() const;
  void work_behind_step(StepSupply& steps);
  void mine_misses();
  bool is_phase_over() const;
  void step(StepSupply& steps, const ForwardOptions& options);
  void report(const StepResult& result, double rate);
  void evaluate();
  std::vector<Figure> recall_figures(const Recall& recall) const;
  void write_checkpoint();
  void write_report() const;
  void finish();

  FileSystem& files_;
  RunSetup setup_;
  OnLine on_line_;
  std::filesystem::path output_;
  LayerMath math_;
  double peak_flops_;  // of the device in the type of the activations; 0: not known
  Optimizer optimizer_;
  Guard guard_;
  CheckpointFolder checkpoints_;
  std::unique_ptr<Evaluation> evaluation_;  // null: none is wanted
  std::unique_ptr<RunLog> log_;
  std::vector<std::vector<int32_t>> mined_;  // groups in force; empty: those found by words
  RunState state_;
  bool is_evaluation_due_ = false;  // behind the last step
  bool is_mining_due_ = false;      // the same
  StopAsked stop_;
  double recall_ = 0;     // at 1, of the last evaluation's smallest memory in this phase
  double shown_at_ = -1;  // seconds of the run when a line was shown last
  double saved_at_ = 0;
};

}  // namespace msa::train
