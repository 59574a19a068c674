#pragma once
// Sequences without memory, written from one document: its text, readings of it.

#include <cstdint>
#include <optional>
#include <string>

#include "msa/samples/mixture.h"
#include "msa/samples/question_drawer.h"
#include "msa/samples/random.h"
#include "msa/samples/sequence_writer.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {

/// What stands in the writer now.
struct AloneSequence {
  std::string name;             // for messages
  int64_t question_tokens = 0;  // of its question
  int64_t answer_tokens = 0;    // of its longest answer
};

/// Immutable; may be used from several threads. Borrows corpus and drawer. All learned tokens are
/// of LossTerm::kLanguage.
class AloneSequences {
 public:
  AloneSequences(const TrainCorpus& corpus, const QuestionDrawer& questions,
                 const Mixture& mixture);

  /// The framed document.
  AloneSequence write_document(int32_t document, Random& random, SequenceWriter& writer) const;

  /// A conversation: the text, one question that named it, several answers. Nothing for a document
  /// without answered questions.
  std::optional<AloneSequence> write_answers(int32_t document, Random& random,
                                             SequenceWriter& writer) const;

  /// A conversation: a question made from a sentence of the text, the text without that sentence,
  /// the answer. Nothing for a document that gives no such question.
  std::optional<AloneSequence> write_gap(int32_t document, Random& random,
                                         SequenceWriter& writer) const;

 private:
  ShownDocument shown(int32_t document, Random& random) const;

  const TrainCorpus& corpus_;
  const QuestionDrawer& questions_;
  const Mixture mixture_;
};

}  // namespace msa::samples
