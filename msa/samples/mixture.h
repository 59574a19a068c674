#pragma once
// What a batch is made of: a plain struct that a configuration fills.

#include <cstdint>
#include <vector>

namespace msa::samples {

/// Of one source of the corpus, in its order.
struct SourceShare {
  double documents = 1;  // how much more often a document of it is drawn; 0: never
  double questions = 1;  // how much more often one in memory is asked, and a question of it taken
};

/// Weights of the kinds of questions; those that a document cannot give leave theirs to the others.
struct QuestionShares {
  double written = 0.75;  // of the corpus's question files
  double span = 0.08;
  double words = 0.04;
  double title = 0.06;
  double cloze = 0.03;
  double fact = 0.04;
};

/// Weights of learned tokens within their terms.
struct TargetWeights {
  // LossTerm::kLanguage
  float document = 1;
  float alone_question = 0.3F;
  float alone_text = 0.7F;
  float alone_answer = 4;
  // LossTerm::kAnswer
  float answer = 1;
  float end_of_retrieve = 1;
  float answer_frame = 0.3F;  // the words in front of an answer, of both terms
  // LossTerm::kReconstruction; 0: not learned
  float text = 1;
};

struct Mixture {
  std::vector<SourceShare> sources;  // empty: all alike

  int64_t memory_tokens = 163'840;      // of documents, at most; 0: language alone, nobody is asked
  int64_t sequence_tokens = 163'840;    // of all sequences, at most
  int64_t max_sequence_tokens = 2'048;  // longer ones are left out, never cut
  int64_t max_question_tokens = 60;     // of the question alone
  int64_t max_answer_tokens = 48;

  /// Questions of one document that read texts in vain before they name it; of reading sequences
  /// with distractors those that read them in a round before.
  double retry_share = 0.05;

  // The memory.
  double hidden_title_share = 0.25;  // documents without their title
  double neighbour_share = 0.2;      // draws that bring the documents behind theirs, if alike
  int64_t num_neighbours = 3;        // at most
  double similar_share = 0;          // draws of a whole group of BatchMaker::set_similar
  double invented_share = 0;         // documents with a sentence about an invented name, if it fits
  int64_t ids_max_digits = 7;        // ids are uniform in length

  // Shares of sequence_tokens. Questions that only name documents fill what is left.
  double language_share = 0.08;
  double reading_share = 0.4;

  // Of reading sequences.
  double no_answer_share = 0.08;      // the memory does not hold the answer
  double no_answer_text_share = 0.5;  // of those: texts are read in vain first
  /// Of those: one to three texts that are taken for the right one instead of one text. Above 0, a
  /// part of the groups of BatchMaker::set_similar enter without the document that they belong to.
  double no_answer_similar_share = 0;
  double distractor_share = 0.45;  // one or two texts beside the gold ones
  double end_of_retrieve_share = 0.8;
  double made_reading_share = 0.15;  // questions made here instead of written ones
  // Texts, in language sequences too, in which an answer that is a name, a date or a number is
  // another one throughout; others stay as they are.
  double renamed_share = 0;

  // Of language sequences.
  double alone_answers_share = 0.45;  // documents with questions: text, questions and answers
  int64_t max_alone_answers = 3;
  double alone_gap_share = 0;  // a question made from a sentence, the text without it, the answer

  // Of questions that need several documents.
  double hop_share = 0.7;  // one document at a time instead of all at once

  /// Draws that look for a second document that the first one names: a question over both is made.
  double chain_share = 1;

  double invented_question_share = 0.5;  // of those of a document that has such a sentence
  QuestionShares questions;
  double lower_case_share = 0.5;

  TargetWeights weights;
};

/// Throws Error(kInvalidArgument) naming the first field out of its range: shares outside [0, 1],
/// weights below 0, counts that leave nothing to draw. `num_sources` is the corpus's.
void check(const Mixture& mixture, int64_t num_sources);

}  // namespace msa::samples
