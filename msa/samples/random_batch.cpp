#include "msa/samples/random_batch.h"

#include <algorithm>
#include <random>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

constexpr int64_t kHeadTokens = 3;
constexpr int32_t kFirstPosition = 19;  // of a question: behind the head and 16 documents
constexpr int64_t kAskingTokens = 45;
constexpr int64_t kTextTokens = 280;  // mean of running text

class Maker {
 public:
  explicit Maker(const RandomBatchOptions& options) : options_(options), random_(options.seed) {}

  Batch make() {
    batch_.head = tokens(options_.memory_tokens > 0 ? kHeadTokens : 0);
    fill(batch_.documents, options_.memory_tokens, options_.document_tokens);
    if (options_.learns_documents) learn_documents();
    for (int64_t i = 0; i < options_.num_reading; ++i) {
      add_question(kReadingTokens, 300, LossTerm::kAnswer);
    }
    for (int64_t i = 0; i < options_.num_naming; ++i)
      add_question(kNamingTokens, 7, LossTerm::kIds);
    const int64_t first_text = batch_.sequences.num_sequences();
    fill(batch_.sequences, options_.sequence_tokens - batch_.sequences.num_tokens(), kTextTokens);
    for (int64_t s = first_text; s < batch_.sequences.num_sequences(); ++s) {
      const int32_t begin = batch_.sequences.offsets[static_cast<size_t>(s)];
      const int32_t end = batch_.sequences.offsets[static_cast<size_t>(s) + 1];
      learn(begin, end - 1, LossTerm::kLanguage);
    }
    batch_.names.assign(static_cast<size_t>(batch_.sequences.num_sequences()), "random");
    return std::move(batch_);
  }

 private:
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(bound));
  }

  std::vector<int32_t> tokens(int64_t count) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i) {
      tokens.push_back(static_cast<int32_t>(below(options_.vocab_size)));
    }
    return tokens;
  }

  void fill(PackedTokens& packed, int64_t count, int64_t mean) {
    while (count > 0) {
      const int64_t length = std::min(count, mean / 2 + below(mean + 1));
      packed.add(tokens(std::max<int64_t>(1, length)), 0);
      count -= std::max<int64_t>(1, length);
    }
  }

  void add_question(int64_t length, int64_t num_learned, LossTerm term) {
    const auto begin = static_cast<int32_t>(batch_.sequences.num_tokens());
    batch_.sequences.add(tokens(length), kFirstPosition);
    ++batch_.num_asking;
    for (int32_t i = 0; i < kAskingTokens; ++i) batch_.query_rows.push_back(begin + i);
    batch_.query_offsets.push_back(static_cast<int32_t>(batch_.query_rows.size()));
    batch_.gold.push_back(static_cast<int32_t>(below(batch_.documents.num_sequences())));
    batch_.gold_offsets.push_back(static_cast<int32_t>(batch_.gold.size()));
    const auto end = static_cast<int32_t>(batch_.sequences.num_tokens());
    learn(end - 1 - static_cast<int32_t>(num_learned), end - 1, term);
  }

  /// What follows rows [begin, end).
  void learn(int32_t begin, int32_t end, LossTerm term) {
    for (int32_t row = begin; row < end; ++row) {
      batch_.targets.add(row, batch_.sequences.tokens[static_cast<size_t>(row) + 1], 1, term);
    }
  }

  void learn_documents() {
    const PackedTokens& documents = batch_.documents;
    for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
      for (int32_t row = documents.offsets[d]; row + 1 < documents.offsets[d + 1]; ++row) {
        batch_.document_targets.add(row, documents.tokens[static_cast<size_t>(row) + 1], 1,
                                    LossTerm::kDocuments);
      }
    }
  }

  const RandomBatchOptions& options_;
  std::mt19937_64 random_;
  Batch batch_;
};

}  // namespace

Batch random_batch(const RandomBatchOptions& options) {
  const int64_t num_questions = options.num_naming + options.num_reading;
  const int64_t asked = options.num_naming * kNamingTokens + options.num_reading * kReadingTokens;
  MSA_CHECK(options.vocab_size > 3, "a random batch needs more than 3 tokens to draw from");
  MSA_CHECK(num_questions == 0 || options.memory_tokens > 0,
            "questions need a memory of one token or more");
  MSA_CHECK(asked <= options.sequence_tokens, num_questions, " questions take ", asked,
            " tokens, and the sequences have ", options.sequence_tokens);
  Batch batch = Maker(options).make();
  check(batch, options.vocab_size);
  return batch;
}

}  // namespace msa::samples
