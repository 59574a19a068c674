#pragma once
// What one training step reads: a memory of documents, and sequences that are asked over it or
// stand alone.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace msa::samples {

/// Token sequences side by side.
struct PackedTokens {
  std::vector<int32_t> tokens;     // [N]
  std::vector<int32_t> positions;  // [N], of the rotation
  std::vector<int32_t> offsets{
      0};  // [S + 1]: sequence s has tokens offsets[s] .. offsets[s + 1] - 1

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }

  /// Tokens of the longest sequence, 0 where there is none.
  int64_t longest() const;

  /// Adds a sequence; positions count on from `first_position`.
  void add(std::span<const int32_t> sequence, int32_t first_position);
};

/// What a token is learned for; each term is a mean over its own tokens.
enum class LossTerm : int32_t {
  kLanguage,        // running text
  kIds,             // the ids of the documents that support the answer
  kReconstruction,  // appended texts
  kAnswer,
  kDocuments,  // running text of the memory's own documents
};
constexpr int64_t kNumLossTerms = 5;

/// Learned tokens: the output of row rows[i] of some packed tokens is to be tokens[i].
struct Targets {
  std::vector<int32_t> rows;  // rising
  std::vector<int32_t> tokens;
  std::vector<float> weights;  // within their term, > 0
  std::vector<LossTerm> terms;

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  void add(int32_t row, int32_t token, float weight, LossTerm term);
};

/// The first `num_asking` sequences are asked: each sees the prompt head, the documents chosen for
/// it in every router layer, and itself; the others see themselves alone. All documents are in
/// everybody's memory.
struct Batch {
  std::vector<int32_t> head;  // tokens of the prompt head; their positions begin at 0
  PackedTokens documents;     // framed, each alone from position 0
  PackedTokens sequences;
  int64_t num_asking = 0;  // A

  std::vector<int32_t> query_rows;  // of `sequences`, that route; rising
  std::vector<int32_t> query_offsets{
      0};                                // [A + 1], into query_rows; everyone asked has one or more
  std::vector<int32_t> gold;             // places of documents that support the answer
  std::vector<int32_t> gold_offsets{0};  // [A + 1], into gold; who has none teaches no routing

  Targets targets;           // of `sequences`
  Targets document_targets;  // of `documents`

  std::vector<std::string> names;  // [S], where each sequence comes from, for messages
};

/// The asked sequences [first, end) of a batch with their targets and gold, without its documents.
Batch questions_of(const Batch& all, int64_t first, int64_t end);

/// Throws Error(kInvalidArgument) naming the first thing that does not hold together: offsets,
/// rows, places, tokens outside [0, vocab_size), weights that are not above 0.
void check(const Batch& batch, int64_t vocab_size);

}  // namespace msa::samples
