#pragma once
// The log of a run: JSON Lines on disk, and the same as a line for people.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/json.h"

namespace msa::train {

/// A number by its name; names are those of the JSON keys.
using Figure = std::pair<std::string, double>;

/// What is known after a step. Figures that were not measured are absent.
struct StepReport {
  int64_t step = 0;
  std::string phase;
  double seconds = 0;        // of training, in the whole run
  int64_t tokens = 0;        // learned from, in the whole run
  double rate = 0;           // of learning
  double gradient_norm = 0;  // before clipping
  double tokens_per_second = 0;
  double flops_per_second = 0;  // that the model asked for: see step_flops
  double flop_utilisation = 0;  // share of the device's peak; 0: not known
  int64_t num_skipped = 0;      // steps, in the whole run
  std::vector<Figure> losses;   // "total", "language", ...
  std::vector<Figure> routing;  // in the batch: "recall_1", "recall_16", ...
  std::string skipped = {};     // why the step was not taken; empty: it was
};

/// On held-back questions over a memory of its own.
struct EvaluationReport {
  int64_t step = 0;
  std::string phase;
  int64_t memory_tokens = 0;
  std::vector<Figure> figures;  // "recall_1", "recall_16", "exact", ...
};

/// On training questions over a memory of many steps' documents, in search of misses.
struct MiningReport {
  int64_t step = 0;
  std::string phase;
  int64_t memory_tokens = 0;
  int64_t num_questions = 0;
  int64_t num_groups = 0;  // of documents that the model mistakes for each other
  double seconds = 0;      // that it took; not of training
  std::vector<Figure> figures;
};

OrderedJson to_json(const StepReport& report);
OrderedJson to_json(const EvaluationReport& report);
OrderedJson to_json(const MiningReport& report);

/// "step 120 ids | total 1.234 language 2.345 | recall_1 0.912 | rate 2.0e-03 | norm 0.81 |
/// 1.92M tokens/s | 31% of peak".
std::string progress_line(const StepReport& report);

/// "step 120 | 65536 tokens in memory | recall_1 0.912 recall_16 0.998".
std::string progress_line(const EvaluationReport& report);

/// "step 500 memory | mined 16777216 tokens with 8192 questions in 21.5 s | recall_1 0.612
/// recall_16 0.898 | 8101 groups".
std::string progress_line(const MiningReport& report);

/// A JSON Lines file that a run adds to. One thread at a time.
class RunLog {
 public:
  /// Opens the log of a run that goes on after `step` steps: lines of later steps, a last line that
  /// was cut off, and those of this very step whose kind is `to_come`, are dropped. Step 0 begins
  /// anew.
  static std::unique_ptr<RunLog> open(FileSystem& files, const std::filesystem::path& path,
                                      int64_t step, const std::set<std::string>& to_come = {});

  /// Adds a line; it must have a "step".
  void add(const OrderedJson& line);

  /// Returns when all lines are on stable storage.
  void sync();

 private:
  explicit RunLog(std::unique_ptr<File> file);

  std::unique_ptr<File> file_;
};

/// The lines of a log, up to the first that is cut off or no JSON.
std::vector<Json> read_log(FileSystem& files, const std::filesystem::path& path);

}  // namespace msa::train
