#pragma once
// A folder of expected numbers: its files, read on demand. Any part may be absent.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "msa/base/json.h"
#include "msa/memory/chunk_source.h"
#include "msa/model/cpu_session.h"
#include "msa/model/transformer.h"
#include "msa/text/prompt_layout.h"
#include "msa/text/tokenizer.h"
#include "tests/parity/report.h"

namespace msa::parity {

/// Tolerances on the relative error, float32 against float32.
constexpr double kMemoryTolerance = 2e-5;
constexpr double kScoreTolerance = 1e-5;
constexpr double kLogitTolerance = 2e-5;

class GoldenSet {
 public:
  explicit GoldenSet(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }
  bool has(const std::string& file) const;
  Json json(const std::string& file) const;
  std::vector<Json> lines(const std::string& file) const;

  /// A float32 tensor's numbers, or nothing if the file or the tensor is absent.
  std::optional<std::vector<float>> tensor(const std::string& file, const std::string& name) const;

 private:
  std::filesystem::path folder_;
};

/// The checkpoint with memory: model, tokenizer, layout, documents.
struct TinyModel {
  std::unique_ptr<model::Transformer> transformer;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<text::PromptLayout> layout;
  model::PromptHead head;
  std::vector<Json> documents;                  // lines of encode/documents.jsonl
  std::vector<std::vector<int32_t>> tokens;     // of the documents
  std::unique_ptr<memory::ChunkSource> memory;  // of all documents
};

/// Loads DIR/tiny-msa with some keys of msa_config changed, and encodes the documents.
TinyModel load_tiny(const GoldenSet& golden, const Json& changes = Json::object());

/// A memory that keeps every score that routing gives.
class RecordingSource final : public memory::ChunkSource {
 public:
  explicit RecordingSource(const memory::ChunkSource& source) : source_(source) {}

  const memory::MemoryShape& shape() const override { return source_.shape(); }
  int64_t num_documents() const override { return source_.num_documents(); }
  int64_t num_chunks(int64_t document) const override { return source_.num_chunks(document); }
  std::vector<kernels::ScoredDocument> route(int64_t layer, const memory::RoutingQuery& query,
                                             int64_t top_k,
                                             std::span<float> document_scores) const override;
  void fetch(int64_t layer, std::span<const int64_t> documents, float* key,
             float* value) const override {
    source_.fetch(layer, documents, key, value);
  }

  /// Scores of all documents by router layer, from the last routing.
  const std::map<int64_t, std::vector<float>>& scores() const { return scores_; }

 private:
  const memory::ChunkSource& source_;
  mutable std::map<int64_t, std::vector<float>> scores_;
};

/// Compares one prefill's routing with lines {"layer", "scores", "selected"}.
void check_routes(Report& report, const std::string& output, const std::string& place,
                  const TinyModel& tiny, const RecordingSource& recording,
                  const model::RoutingResult& routing, const std::vector<Json>& routes);

std::vector<int64_t> integers(const Json& array);
std::vector<int32_t> token_ids(const Json& array);
std::vector<float> floats(const Json& array);
std::vector<bool> routing_marks(const Json& roles);
int64_t argmax(std::span<const float> logits);

void check_encoding(Report& report, const GoldenSet& golden);
void check_routing(Report& report, const GoldenSet& golden);
void check_variants(Report& report, const GoldenSet& golden);
void check_greedy(Report& report, const GoldenSet& golden);
void check_interleave(Report& report, const GoldenSet& golden, int trace);
void check_qwen3(Report& report, const GoldenSet& golden);

}  // namespace msa::parity
