#pragma once
// A conversation as the engine reads it, written out as one sequence with what is to be learned.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/samples/batch.h"
#include "msa/samples/renaming.h"
#include "msa/samples/shown_document.h"
#include "msa/samples/train_corpus.h"
#include "msa/text/prompt_layout.h"

namespace msa::samples {

/// A term and a weight of tokens that are to be learned; weight 0: they are not.
struct Learned {
  LossTerm term = LossTerm::kLanguage;
  float weight = 0;
};

struct TrainSequence {
  text::Prompt prompt;  // tokens of the question role route
  std::vector<int32_t> positions;
  Targets targets;  // rows count from the sequence's begin
};

/// Pieces are added in the order of engine::Conversation: a question, then rounds (ids and texts),
/// the end of retrieval, the answer. Borrows layout and corpus. Not for use by several threads.
class SequenceWriter {
 public:
  SequenceWriter(const text::PromptLayout& layout, const TrainCorpus& corpus);

  /// Begins anew without memory: the prompt head comes first and nothing routes.
  void begin_alone();

  /// Begins anew over a memory: positions count from the question's.
  void begin_asked();

  /// A framed document alone, learned but for the id at its begin.
  void add_document(const ShownDocument& shown, Learned learned);

  /// `learned` is for the tokens of the question itself, whose number is returned.
  int64_t add_question(std::string_view question, Learned learned = {});

  /// The ids that end a round, in this order, and their closing token.
  void add_ids(std::span<const int64_t> ids, Learned learned = {});

  /// The next round begins with the texts, by rising id; only they and the question route then.
  /// Renamings apply one after the other.
  void add_texts(std::vector<ShownDocument> texts, Learned learned = {},
                 std::span<const Renaming> renamings = {});

  /// The same of one text that is no document of the corpus, title included.
  void add_text(int64_t id, std::string_view text, Learned learned = {});

  /// The model has read enough.
  void add_end_of_retrieve(Learned learned = {});

  /// The question again and the answer in its frame. `learned` is for the answer, whose number of
  /// tokens is returned, and its end. May be called several times.
  int64_t add_answer(std::string_view question, std::string_view answer, Learned learned,
                     float frame_weight);

  int64_t num_tokens() const { return static_cast<int64_t>(sequence_.prompt.tokens.size()); }

  /// What was written since the begin.
  const TrainSequence& sequence();

 private:
  void learn(size_t first, size_t end, Learned learned);
  void add_tokens(std::span<const int32_t> tokens, int32_t role);
  void add_text_tokens(std::span<const int32_t> tokens, Learned learned);

  const text::PromptLayout& layout_;
  const TrainCorpus& corpus_;
  int64_t front_tokens_ = 0;  // of what stands in front of a question
  int64_t back_tokens_ = 0;   // behind it, without its line end
  int64_t frame_tokens_ = 0;  // in front of an answer
  TrainSequence sequence_;
  bool is_asked_ = false;
  size_t head_tokens_ = 0;  // in front of the question's position
};

/// Adds a sequence of a memory's questions, with its routing tokens and the places of its gold
/// documents. Those that are asked are added before those that stand alone.
void add_asked(const TrainSequence& sequence, std::span<const int32_t> gold, std::string name,
               Batch& batch);
void add_alone(const TrainSequence& sequence, std::string name, Batch& batch);

}  // namespace msa::samples
