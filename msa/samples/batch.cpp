#include "msa/samples/batch.h"

#include <algorithm>
#include <cmath>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

void check_offsets(const std::vector<int32_t>& offsets, size_t sequences, size_t size,
                   const char* what) {
  MSA_CHECK(offsets.size() == sequences + 1 && offsets.front() == 0 &&
                offsets.back() == static_cast<int64_t>(size) &&
                std::is_sorted(offsets.begin(), offsets.end()),
            "batch: ", what, " must rise from 0 to ", size, " in ", sequences + 1, " numbers");
}

void check_tokens(const PackedTokens& packed, int64_t vocab_size, const char* what) {
  MSA_CHECK(packed.positions.size() == packed.tokens.size(), "batch: ", what, " have ",
            packed.tokens.size(), " tokens and ", packed.positions.size(), " positions");
  MSA_CHECK(!packed.offsets.empty(), "batch: ", what, " have no offsets");
  check_offsets(packed.offsets, packed.offsets.size() - 1, packed.tokens.size(), what);
  for (int64_t s = 0; s < packed.num_sequences(); ++s) {
    MSA_CHECK(packed.offsets[static_cast<size_t>(s)] < packed.offsets[static_cast<size_t>(s) + 1],
              "batch: ", what, " ", s, " has no token");
  }
  for (const int32_t token : packed.tokens) {
    MSA_CHECK(token >= 0 && token < vocab_size, "batch: a token of ", what, " must be in [0, ",
              vocab_size, "), got ", token);
  }
  for (const int32_t position : packed.positions) {
    MSA_CHECK(position >= 0, "batch: a position of ", what, " is ", position);
  }
}

void check_range(std::span<const int32_t> values, int64_t end, const char* what) {
  for (const int32_t value : values) {
    MSA_CHECK(value >= 0 && value < end, "batch: ", what, " must be in [0, ", end, "), got ",
              value);
  }
}

void check_targets(const Targets& targets, int64_t num_rows, int64_t vocab_size) {
  const auto count = static_cast<size_t>(targets.size());
  MSA_CHECK(targets.tokens.size() == count && targets.weights.size() == count &&
                targets.terms.size() == count,
            "batch: targets of unequal lengths");
  check_range(targets.rows, num_rows, "the row of a target");
  check_range(targets.tokens, vocab_size, "a wanted token");
  for (const float weight : targets.weights) {
    MSA_CHECK(weight > 0 && std::isfinite(weight), "batch: the weight of a target is ", weight);
  }
}

}  // namespace

int64_t PackedTokens::longest() const {
  int32_t most = 0;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    most = std::max(most, offsets[s + 1] - offsets[s]);
  }
  return most;
}

void PackedTokens::add(std::span<const int32_t> sequence, int32_t first_position) {
  tokens.insert(tokens.end(), sequence.begin(), sequence.end());
  for (size_t i = 0; i < sequence.size(); ++i) {
    positions.push_back(first_position + static_cast<int32_t>(i));
  }
  offsets.push_back(static_cast<int32_t>(tokens.size()));
}

void Targets::add(int32_t row, int32_t token, float weight, LossTerm term) {
  rows.push_back(row);
  tokens.push_back(token);
  weights.push_back(weight);
  terms.push_back(term);
}

Batch questions_of(const Batch& all, int64_t first, int64_t end) {
  Batch some;
  some.head = all.head;
  size_t target = 0;
  for (auto a = static_cast<size_t>(first); a < static_cast<size_t>(end); ++a) {
    const auto part = [a](const std::vector<int32_t>& values, const std::vector<int32_t>& offsets) {
      return std::span(values).subspan(static_cast<size_t>(offsets[a]),
                                       static_cast<size_t>(offsets[a + 1] - offsets[a]));
    };
    const int32_t begin = all.sequences.offsets[a];
    const int32_t shift = static_cast<int32_t>(some.sequences.num_tokens()) - begin;
    some.sequences.add(part(all.sequences.tokens, all.sequences.offsets),
                       all.sequences.positions[static_cast<size_t>(begin)]);
    for (const int32_t row : part(all.query_rows, all.query_offsets)) {
      some.query_rows.push_back(row + shift);
    }
    some.query_offsets.push_back(static_cast<int32_t>(some.query_rows.size()));
    for (const int32_t gold : part(all.gold, all.gold_offsets)) some.gold.push_back(gold);
    some.gold_offsets.push_back(static_cast<int32_t>(some.gold.size()));
    while (target < all.targets.rows.size() && all.targets.rows[target] < begin) ++target;
    for (; target < all.targets.rows.size() &&
           all.targets.rows[target] < all.sequences.offsets[a + 1];
         ++target) {
      some.targets.add(all.targets.rows[target] + shift, all.targets.tokens[target],
                       all.targets.weights[target], all.targets.terms[target]);
    }
    some.names.push_back(all.names[a]);
  }
  some.num_asking = end - first;
  return some;
}

void check(const Batch& batch, int64_t vocab_size) {
  check_tokens(batch.documents, vocab_size, "documents");
  check_tokens(batch.sequences, vocab_size, "sequences");
  check_range(batch.head, vocab_size, "a token of the head");
  const auto asking = static_cast<size_t>(batch.num_asking);
  MSA_CHECK(batch.num_asking >= 0 && batch.num_asking <= batch.sequences.num_sequences(),
            "batch: ", batch.num_asking, " of ", batch.sequences.num_sequences(), " are asked");
  MSA_CHECK(asking == 0 || (batch.documents.num_sequences() > 0 && !batch.head.empty()),
            "batch: asked over no memory");
  check_offsets(batch.query_offsets, asking, batch.query_rows.size(), "query offsets");
  check_offsets(batch.gold_offsets, asking, batch.gold.size(), "gold offsets");
  check_range(batch.gold, batch.documents.num_sequences(), "a gold document");
  for (size_t a = 0; a < asking; ++a) {
    const int32_t begin = batch.query_offsets[a];
    const int32_t end = batch.query_offsets[a + 1];
    MSA_CHECK(begin < end, "batch: sequence ", a, " is asked and has no routing token");
    for (int32_t i = begin; i < end; ++i) {
      const int32_t row = batch.query_rows[static_cast<size_t>(i)];
      MSA_CHECK(row >= batch.sequences.offsets[a] && row < batch.sequences.offsets[a + 1],
                "batch: a routing token of sequence ", a, " stands at row ", row, " of another");
    }
  }
  check_targets(batch.targets, batch.sequences.num_tokens(), vocab_size);
  check_targets(batch.document_targets, batch.documents.num_tokens(), vocab_size);
  MSA_CHECK(batch.names.size() == static_cast<size_t>(batch.sequences.num_sequences()),
            "batch: ", batch.names.size(), " names of ", batch.sequences.num_sequences(),
            " sequences");
}

}  // namespace msa::samples
