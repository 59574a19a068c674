#include "msa/train/routing.h"

#include <ATen/ATen.h>

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

at::Tensor loss_of(const StepInput& input, const at::Tensor& queries, const at::Tensor& keys,
                   const autograd::BestScores& best, const RoutingOptions& options) {
  const auto of_routed = [&](const at::Tensor& all) { return all.index_select(0, input.routed); };
  const auto is_gold = of_routed(input.is_gold);
  const auto scores = gold_first(of_routed(best.scores), is_gold);
  const int64_t num_candidates =
      options.num_negatives == 0
          ? input.num_documents
          : std::min(input.num_documents, input.most_gold + options.num_negatives);
  const auto candidates = std::get<1>(scores.topk(num_candidates, 1));
  const auto of_candidates = [&](const at::Tensor& all) {
    return of_routed(all).gather(1, candidates);
  };
  const auto pairs = autograd::pair_scores(queries, keys, of_candidates(best.token).flatten(),
                                           of_candidates(best.chunk).flatten());
  const auto is_positive = is_gold.gather(1, candidates);
  return auxiliary_loss(pairs.view(candidates.sizes()), is_positive, at::ones_like(is_positive),
                        options.loss)
      .sum();
}

}  // namespace

Routing route(const StepInput& input, const at::Tensor& queries, const at::Tensor& keys,
              const RoutingOptions& options, bool wants_loss) {
  const auto best = autograd::best_scores(queries.detach(), input.query_offsets, keys.detach(),
                                          input.document_offsets);
  const int64_t num_selected = std::min(options.top_k, input.num_documents);
  Routing out;
  out.scores = best.scores;
  const auto chosen = largest(best.scores, num_selected);
  const auto is_hit = input.is_gold.gather(1, chosen);
  out.first_hits = is_hit.select(1, 0).sum();
  out.selected_hits = is_hit.any(1).sum();
  out.selected =
      options.forces_gold ? largest(gold_first(best.scores, input.is_gold), num_selected) : chosen;
  if (wants_loss && input.routed.size(0) > 0) {
    out.loss = loss_of(input, queries, keys, best, options);
  }
  return out;
}

}  // namespace msa::train
