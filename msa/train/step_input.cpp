#include "msa/train/step_input.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "msa/autograd/upload.h"

namespace msa::train {
namespace {

at::Tensor rows_of(const std::vector<int32_t>& values, at::Device device) {
  return autograd::upload(values, at::kLong, device);
}

at::Tensor offsets_of(const std::vector<int32_t>& values, at::Device device) {
  return autograd::upload(values, at::kInt, device);
}

PackedInput packed(const samples::PackedTokens& tokens, at::Device device) {
  return {.tokens = rows_of(tokens.tokens, device),
          .positions = rows_of(tokens.positions, device),
          .offsets = offsets_of(tokens.offsets, device),
          .longest = tokens.longest()};
}

void add_chunks(StepInput& input, const samples::PackedTokens& documents, int64_t chunk_tokens,
                int64_t pass_tokens, at::Device device) {
  std::vector<int32_t> chunks{0};
  std::vector<int32_t> first{0};
  EncodingPass pass;
  for (size_t d = 0; d + 1 < documents.offsets.size(); ++d) {
    const int32_t end = documents.offsets[d + 1];
    const int64_t length = end - documents.offsets[d];
    if (pass.end_token > pass.first_token && end - pass.first_token > pass_tokens) {
      input.passes.push_back(pass);
      pass = {.first_document = pass.end_document,
              .first_token = pass.end_token,
              .first_chunk = pass.end_chunk};
    }
    for (int32_t row = documents.offsets[d]; row < end;) {
      row = std::min(end, row + static_cast<int32_t>(chunk_tokens));
      chunks.push_back(row);
    }
    first.push_back(static_cast<int32_t>(chunks.size()) - 1);
    input.most_chunks = std::max<int64_t>(input.most_chunks, first.back() - *(first.end() - 2));
    pass.end_document = static_cast<int64_t>(d) + 1;
    pass.end_token = end;
    pass.end_chunk = first.back();
    pass.longest = std::max(pass.longest, length);
  }
  if (pass.end_token > pass.first_token) input.passes.push_back(pass);
  input.chunk_offsets = offsets_of(chunks, device);
  input.document_offsets = offsets_of(first, device);
  input.num_documents = documents.num_sequences();
}

void add_gold(StepInput& input, const samples::Batch& batch, at::Device device) {
  auto is_gold = at::zeros({batch.num_asking, input.num_documents}, at::kBool);
  std::vector<int32_t> routed;
  for (int64_t a = 0; a < batch.num_asking; ++a) {
    const int32_t begin = batch.gold_offsets[static_cast<size_t>(a)];
    const int32_t end = batch.gold_offsets[static_cast<size_t>(a) + 1];
    if (begin < end) routed.push_back(static_cast<int32_t>(a));
    input.most_gold = std::max<int64_t>(input.most_gold, end - begin);
    bool* row = is_gold.data_ptr<bool>() + a * input.num_documents;
    for (int32_t i = begin; i < end; ++i) row[batch.gold[static_cast<size_t>(i)]] = true;
  }
  input.is_gold = autograd::upload(is_gold, device);
  input.routed = rows_of(routed, device);
}

/// Learned tokens on their way to the device.
struct TargetLists {
  std::vector<int32_t> tokens;
  std::vector<int32_t> terms;
  std::vector<float> shares;
  std::vector<float> weights;
};

/// The rows of those whose term has weight, from `first_row` on.
std::vector<int32_t> add_targets(const samples::Targets& targets, int64_t first_row,
                                 const TermWeights& weights, const LossTotals& totals,
                                 TargetLists& lists) {
  std::vector<int32_t> rows;
  for (size_t i = 0; i < targets.rows.size(); ++i) {
    const auto term = static_cast<size_t>(targets.terms[i]);
    if (weights.term[term] == 0) continue;
    rows.push_back(targets.rows[i] + static_cast<int32_t>(first_row));
    lists.tokens.push_back(targets.tokens[i]);
    lists.terms.push_back(static_cast<int32_t>(term));
    const double share = static_cast<double>(targets.weights[i]) / totals.weight[term];
    lists.shares.push_back(static_cast<float>(share));
    lists.weights.push_back(static_cast<float>(share * weights.term[term]));
  }
  return rows;
}

void add_all_targets(StepInput& input, const samples::Batch& batch, const TermWeights& weights,
                     const LossTotals& totals, at::Device device) {
  TargetLists lists;
  const auto document_rows = add_targets(batch.document_targets, 0, weights, totals, lists);
  const auto rows = add_targets(batch.targets, input.num_head_tokens, weights, totals, lists);
  for (EncodingPass& pass : input.passes) {
    const auto place_of = [&](int64_t token) {
      return std::lower_bound(document_rows.begin(), document_rows.end(), token) -
             document_rows.begin();
    };
    pass.first_target = place_of(pass.first_token);
    pass.end_target = place_of(pass.end_token);
  }
  input.document_target_rows = rows_of(document_rows, device);
  input.target_rows = rows_of(rows, device);
  input.target_tokens = rows_of(lists.tokens, device);
  input.target_terms = rows_of(lists.terms, device);
  input.target_shares = autograd::upload(lists.shares, at::kFloat, device);
  input.target_weights = autograd::upload(lists.weights, at::kFloat, device);
}

}  // namespace

int64_t num_learned(const samples::Targets& targets, const TermWeights& weights) {
  return std::count_if(targets.terms.begin(), targets.terms.end(), [&](samples::LossTerm term) {
    return weights.term[static_cast<size_t>(term)] != 0;
  });
}

void LossTotals::add(const samples::Batch& batch) {
  for (const samples::Targets* targets : {&batch.targets, &batch.document_targets}) {
    for (size_t i = 0; i < targets->rows.size(); ++i) {
      weight[static_cast<size_t>(targets->terms[i])] += static_cast<double>(targets->weights[i]);
    }
  }
  for (int64_t a = 0; a < batch.num_asking; ++a) {
    num_routed +=
        batch.gold_offsets[static_cast<size_t>(a)] < batch.gold_offsets[static_cast<size_t>(a) + 1];
  }
}

StepInput step_input(const samples::Batch& batch, int64_t chunk_tokens, const TermWeights& weights,
                     const LossTotals& totals, at::Device device, int64_t pass_tokens) {
  StepInput input;
  read_documents(batch, chunk_tokens, device, input, pass_tokens);
  read_sequences(batch, weights, totals, device, input);
  return input;
}

void read_documents(const samples::Batch& batch, int64_t chunk_tokens, at::Device device,
                    StepInput& input, int64_t pass_tokens) {
  input.documents = packed(batch.documents, device);
  add_chunks(input, batch.documents, chunk_tokens, pass_tokens, device);
}

void read_sequences(const samples::Batch& batch, const TermWeights& weights,
                    const LossTotals& totals, at::Device device, StepInput& input) {
  samples::PackedTokens with_head;
  if (!batch.head.empty()) with_head.add(batch.head, 0);
  const auto shift = static_cast<int32_t>(with_head.tokens.size());
  for (const int32_t offset : std::span(batch.sequences.offsets).subspan(1)) {
    with_head.offsets.push_back(offset + shift);
  }
  const auto append = [](std::vector<int32_t>& to, const std::vector<int32_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  append(with_head.tokens, batch.sequences.tokens);
  append(with_head.positions, batch.sequences.positions);
  input.sequences = packed(with_head, device);
  input.num_head_tokens = shift;
  input.num_asking = batch.num_asking;

  input.query_rows = rows_of(batch.query_rows, device) + shift;
  const int64_t num_chunks = input.passes.empty() ? 0 : input.passes.back().end_chunk;
  input.questions = autograd::question_blocks(batch.query_offsets, num_chunks, device);
  add_gold(input, batch, device);
  add_all_targets(input, batch, weights, totals, device);
}

}  // namespace msa::train
