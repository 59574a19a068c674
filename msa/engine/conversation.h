#pragma once
// One question's way: rounds of routing, naming and reading (Memory Interleave), then the answer.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "msa/engine/answer.h"
#include "msa/engine/engine.h"
#include "msa/engine/id_writer.h"
#include "msa/engine/loaded_model.h"
#include "msa/memory/bank.h"
#include "msa/memory/chunk_source.h"
#include "msa/model/session.h"

namespace msa::engine {

/// What a passage is called and what the model reads for it.
struct PassageView {
  memory::Passage passage;
  std::string name;
  std::string text;       // bytes [start, end) of the document
  std::string for_model;  // with the title
};

/// Used once. Everything borrowed must outlive it. A document that is deleted or replaced meanwhile
/// drops out: it is neither read nor listed nor evidence from then on.
class Conversation {
 public:
  Conversation(const LoadedModel& model, const memory::Bank& bank,
               const memory::ChunkSource& memory, std::string_view question,
               const AskOptions& options);

  /// The first prefill alone: what the routers choose.
  RouteResult route(int64_t num_documents);

  Answer ask(const Engine::OnText& on_text);

 private:
  std::span<const float> read(std::span<const int32_t> new_tokens, Round& round);
  WrittenIds write_ids_freely(std::span<const float> logits);
  bool run_round(Round& round);
  std::vector<int64_t> unread(const std::vector<int64_t>& ids, int64_t count) const;
  bool append_texts(Round& round, std::vector<int64_t> unread);
  void write_answer(const Engine::OnText& on_text);
  void add_evidence();
  void list_documents();
  std::vector<IdCandidate> candidates() const;
  std::vector<Round::Layer> routed_layers() const;
  std::vector<ScoredPassage> best_documents(const std::vector<float>& scores, int64_t count) const;
  std::optional<PassageView> view(int64_t passage_id) const;

  const LoadedModel& model_;
  const memory::Bank& bank_;
  const memory::ChunkSource& memory_;
  const AskOptions& options_;
  std::string question_;
  std::unique_ptr<model::Session> session_;
  text::Prompt prompt_;        // all tokens of the conversation that have been read or written
  std::vector<float> logits_;  // of the next token
  std::vector<float> first_scores_;  // [documents] mean scores of the first round
  std::vector<int64_t> read_ids_;    // passages whose texts were appended
  Answer answer_;
};

}  // namespace msa::engine
