#pragma once
// Questions to a bank: routing, Memory Interleave, answer with evidence and trace.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/engine/answer.h"
#include "msa/memory/bank.h"
#include "msa/memory/gpu_source.h"

namespace msa::engine {

class LoadedModel;

/// Throws Error(kInvalidArgument) naming an option that is out of range, what was wanted and what
/// came.
void expect_valid(const AskOptions& options);

struct EngineOptions {
  memory::GpuSourceOptions gpu;   // where a model on a GPU keeps the bank; see GpuSource::load
  memory::DocumentFilter filter;  // other documents are as if the bank did not hold them
};

/// One bank under one model. ask and route may run at once on several threads.
class Engine {
 public:
  /// Documents that are damaged are left out, as far as loading notices: see problems(). Throws
  /// Error(kMismatch) naming the field in which bank and model differ. `model` must outlive the
  /// engine.
  static std::unique_ptr<Engine> open(FileSystem& files, const LoadedModel& model,
                                      const std::filesystem::path& folder,
                                      const EngineOptions& options = {});

  /// Goes on to what the bank holds now, which is what was committed before the call; false if that
  /// is what it had. On the CPU only new segments are read, a GPU loads the bank anew. Not while
  /// questions run. If it throws, the engine may have lost what it had: questions are refused then
  /// until a call succeeds.
  bool refresh();

  /// Goes on to what the bank holds now, without documents of which a part is damaged: reads every
  /// byte of it. For when a question threw Error(kCorruption). As refresh() otherwise.
  void leave_out_damaged();

  /// What is damaged in the bank, and so left out.
  const std::vector<memory::BankProblem>& problems() const { return bank_->problems(); }

  /// Called with each piece of the answer's text as it is written (whole UTF-8 characters).
  using OnText = std::function<void(std::string_view)>;

  /// Throws Error(kInvalidArgument) for an empty or invalid question or options out of range.
  Answer ask(std::string_view question, const AskOptions& options,
             const OnText& on_text = {}) const;

  RouteResult route(std::string_view question, int64_t num_documents) const;

  const memory::Bank& bank() const { return *bank_; }

  /// What is slower because the GPU has no room for the whole bank; empty where it has, and on the
  /// CPU.
  std::string placement_note() const;

 private:
  Engine(FileSystem& files, const LoadedModel& model, std::filesystem::path folder,
         const EngineOptions& options);

  void load();
  void load_undamaged();
  void take(std::unique_ptr<memory::Bank> bank);
  const memory::ChunkSource& source() const;

  FileSystem& files_;
  const LoadedModel& model_;
  std::filesystem::path folder_;
  EngineOptions options_;
  std::unique_ptr<memory::Bank> bank_;
  std::unique_ptr<memory::ChunkSource> source_;  // null after a load that failed
};

}  // namespace msa::engine
