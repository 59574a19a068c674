#pragma once
// Checkpoints of a run in a folder: whole or not there, verified when read. Format:
// docs/format/checkpoint.md.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/json.h"
#include "msa/train/named_tensor.h"

namespace msa::train {

/// How far a run is.
struct RunState {
  int64_t step = 0;        // steps that lie behind; random numbers and data follow from it
  int64_t phase = 0;       // place in the config
  int64_t phase_step = 0;  // steps of the phase that lie behind
  int64_t tokens = 0;      // learned from, in all phases
  int64_t phase_tokens = 0;
  double seconds = 0;  // of training, in all phases
  double phase_seconds = 0;
  Json more = Json::object();  // what else the trainer remembers, the guard's state for example
  std::string config;          // print_config
};

struct Checkpoint {
  RunState run;
  std::vector<NamedTensor> parameters;  // in full precision
  std::vector<NamedTensor> optimizer;   // its state
  std::vector<NamedTensor> similar;     // groups of documents that were mined; empty: none were
};

/// One thread at a time, one process at a time.
class CheckpointFolder {
 public:
  /// `folder` is created at the first write; its parent must be there. Of older checkpoints the
  /// newest stay, `keep` >= 1 with the one that was written last.
  CheckpointFolder(FileSystem& files, std::filesystem::path folder, int64_t keep);

  /// Publishes a checkpoint under its step. When this has returned it survives a loss of power;
  /// when it throws, those from before do. Only after that older ones go, and later ones that a run
  /// which began again before them has left. Nothing is written if a good one of that step is
  /// there. Throws Error(kInternal) naming the tensor if a value is not finite, Error(kNoSpace) or
  /// Error(kIo).
  void write(const Checkpoint& checkpoint);

  /// Steps with a checkpoint, rising; it may be damaged.
  std::vector<int64_t> steps() const;

  /// Reads and verifies a checkpoint into tensors on the CPU. Throws Error(kCorruption) naming the
  /// file if its bytes are not those that were written, or as FileSystem.
  Checkpoint read(int64_t step) const;

  /// The newest checkpoint that can be read. Tells `on_damage` of each newer one why it cannot.
  std::optional<Checkpoint> newest(
      const std::function<void(const std::string& problem)>& on_damage) const;

 private:
  std::filesystem::path path_of(int64_t step) const;
  bool is_good(int64_t step) const;
  void discard(const std::filesystem::path& path) const;

  FileSystem& files_;
  std::filesystem::path folder_;
  int64_t keep_;
};

}  // namespace msa::train
