#pragma once
// Questions to a bank: routing, Memory Interleave, answer with evidence and trace.

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "msa/base/file_system.h"
#include "msa/engine/answer.h"
#include "msa/memory/bank.h"
#include "msa/memory/gpu_source.h"

namespace msa::engine {

class LoadedModel;

/// Throws Error(kInvalidArgument) naming an option that is out of range, what was wanted and what
/// came.
void expect_valid(const AskOptions& options);

/// One bank under one model. ask and route may run at once on several threads.
class Engine {
 public:
  /// Throws Error(kMismatch) naming the field in which bank and model differ. `model` must outlive
  /// the engine.
  /// `gpu` says where a model on a GPU keeps the bank; see GpuSource::load.
  static std::unique_ptr<Engine> open(FileSystem& files, const LoadedModel& model,
                                      const std::filesystem::path& folder,
                                      const memory::GpuSourceOptions& gpu = {});

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
  Engine(const LoadedModel& model, std::unique_ptr<memory::Bank> bank);

  const LoadedModel& model_;
  std::unique_ptr<memory::Bank> bank_;
  std::unique_ptr<memory::ChunkSource> source_;
};

}  // namespace msa::engine
