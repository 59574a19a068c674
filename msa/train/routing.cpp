#include "msa/train/routing.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "msa/autograd/best_scores.h"
#include "msa/autograd/pair_scores.h"

namespace msa::train {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Scores with gold before everything else.
at::Tensor gold_first(const at::Tensor& scores, const at::Tensor& is_gold) {
  return scores.masked_fill(is_gold, kInfinity);
}

/// Places of the `count` largest of each row, the lower of equals first.
at::Tensor largest(const at::Tensor& scores, int64_t count) {
  const auto order = at::argsort(scores, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  return order.slice(1, 0, count);
}

ScoredPairs pairs_of(const StepInput& input, const autograd::BestScores& best,
                     const RoutingOptions& options) {
  const auto of_routed = [&](const at::Tensor& all) { return all.index_select(0, input.routed); };
  const auto is_gold = of_routed(input.is_gold);
  const auto scores = gold_first(of_routed(best.scores), is_gold);
  const int64_t num_candidates =
      options.num_negatives == 0
          ? input.num_documents
          : std::min(input.num_documents, input.most_gold + options.num_negatives);
  const auto candidates = std::get<1>(scores.topk(num_candidates, 1));
  const auto of_candidates = [&](const at::Tensor& all) { return all.gather(1, candidates); };
  return {.token = of_candidates(of_routed(best.token)),
          .chunk = of_candidates(of_routed(best.chunk)),
          .is_gold = of_candidates(is_gold)};
}

}  // namespace

Routing route(const StepInput& input, const at::Tensor& queries, const at::Tensor& keys,
              const RoutingOptions& options, bool wants_pairs) {
  const auto best = autograd::best_scores(queries.detach(), input.questions, keys.detach(),
                                          input.document_offsets, input.most_chunks);
  const int64_t num_selected = std::min(options.top_k, input.num_documents);
  Routing out;
  out.scores = best.scores;
  const auto chosen = largest(best.scores, num_selected);
  const auto is_hit = input.is_gold.gather(1, chosen);
  out.first_hits = is_hit.select(1, 0).sum();
  out.selected_hits = is_hit.any(1).sum();
  out.selected =
      options.forces_gold ? largest(gold_first(best.scores, input.is_gold), num_selected) : chosen;
  if (wants_pairs && input.routed.size(0) > 0) out.pairs = pairs_of(input, best, options);
  return out;
}

at::Tensor routing_loss(const at::Tensor& queries, const at::Tensor& keys, const ScoredPairs& pairs,
                        const AuxiliaryLossOptions& options) {
  const auto scores =
      autograd::pair_scores(queries, keys, pairs.token.flatten(), pairs.chunk.flatten());
  return auxiliary_loss(scores.view(pairs.token.sizes()), pairs.is_gold,
                        at::ones_like(pairs.is_gold), options)
      .sum();
}

}  // namespace msa::train
