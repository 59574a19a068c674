#pragma once
// Which questions are asked over a memory.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/samples/memory_drawer.h"
#include "msa/samples/mixture.h"
#include "msa/samples/question_maker.h"
#include "msa/samples/random.h"
#include "msa/samples/renaming.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

struct DrawnQuestion {
  std::string text;
  std::string answer;         // empty: none is known
  std::vector<int32_t> gold;  // places in the memory, in hop order; empty: it does not answer
  bool needs_all_gold = true;
  int32_t place = 0;  // of the gold document that it was drawn for; without gold nothing
  std::vector<int32_t> read_in_vain;  // without gold: places of texts that do not help, 0 to 3
  std::string name;                   // for messages
  bool is_invented = false;           // asks for what no corpus tells
};

/// A written question with one of its answers.
struct WrittenQuestion {
  TrainQuestion question;
  std::string_view answer;  // empty: none
};

/// The shortest of its answers, since others say more than was asked; empty if it has none.
std::string_view shortest_answer(const TrainQuestion& question);

/// True for an answer that stands in a text for a reason; shorter ones stand in any.
bool is_telling(std::string_view answer);

/// True for gold of a question, for documents that hold one of its answers, and for those of a gold
/// document's title where its own answer tells nothing.
bool answers_too(const TrainCorpus& corpus, const WrittenQuestion& asked, int32_t document);

/// Immutable; may be used from several threads. Borrows corpus and memory drawer.
class QuestionDrawer {
 public:
  QuestionDrawer(const TrainCorpus& corpus, const MemoryDrawer& documents, const Mixture& mixture);

  enum class Wanted { kAny, kAnswered };

  /// A place of the memory, by its source's weight: one of place_ends(memory).
  static int32_t draw_place(const std::vector<double>& place_ends, Random& random);
  std::vector<double> place_ends(const DrawnMemory& memory) const;

  /// A question that the document in a place answers, with others if it needs them; of documents
  /// that tell of an invented name, in the mixture's share one about it. Nothing if the document
  /// gives none.
  std::optional<DrawnQuestion> draw(const DrawnMemory& memory, int32_t place, Wanted wanted,
                                    Random& random) const;

  /// A written question of a document that the memory does not speak of, answered with
  /// text::kUnknownAnswer. In the mixture's share a document is read in vain: any, or another
  /// passage of what the question is about; then passages of the memory may share its title, but
  /// none holds the answer. In a share of those one to three are: of the documents that are taken
  /// for one that the memory left out, where none of them nor of its title holds an answer, else
  /// any. Nothing if none is found in some draws.
  std::optional<DrawnQuestion> draw_unanswerable(const DrawnMemory& memory,
                                                 const std::vector<double>& place_ends,
                                                 Random& random) const;

  /// A written question of the whole corpus, by the sources' weights. Nothing if none is found in
  /// some draws.
  std::optional<WrittenQuestion> draw_any(Random& random) const;

  /// Written questions that one document answers alone, each once, by their sources' weights.
  std::vector<WrittenQuestion> draw_answered(int32_t document, int64_t count, Random& random) const;

  /// In the mixture's share of calls another answer of the same kind to a question that asks alike.
  /// Nothing where none is found in some draws, where the question has the answer in it, or none of
  /// the texts that support it, and where they or the other texts have the new one already.
  std::optional<Renaming> draw_renaming(std::string_view question, std::string_view answer,
                                        std::span<const std::string> texts,
                                        std::span<const std::string> others, Random& random) const;

  /// `question` in lower case in the mixture's share of calls.
  std::string styled(std::string_view question, Random& random) const;

 private:
  std::optional<DrawnQuestion> unanswerable_near(const DrawnMemory& memory, int32_t place,
                                                 Random& random) const;
  std::optional<DrawnQuestion> unanswerable_beside_similar(const DrawnMemory& memory,
                                                           Random& random) const;
  double weight_of(int64_t source) const;
  bool may_ask(const TrainQuestion& question) const;
  std::optional<DrawnQuestion> written(const DrawnMemory& memory, int32_t place, Wanted wanted,
                                       Random& random) const;
  std::optional<DrawnQuestion> made(const DrawnMemory& memory, int32_t place, Wanted wanted,
                                    Random& random) const;

  const TrainCorpus& corpus_;
  const MemoryDrawer& documents_;
  const Mixture mixture_;
  std::vector<double> question_ends_;  // running sum over sources of weight times questions
};

}  // namespace msa::samples
