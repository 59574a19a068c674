#include "msa/kernels/top_documents.h"

#include <algorithm>

namespace msa::kernels {
namespace {

bool is_better(const ScoredDocument& a, const ScoredDocument& b) {
  return a.score != b.score ? a.score > b.score : a.document < b.document;
}

}  // namespace

void select_top_documents(std::span<const float> scores, std::span<ScoredDocument> selected) {
  if (selected.empty()) return;
  size_t count = 0;  // a heap whose front is the worst one kept
  for (size_t n = 0; n < scores.size(); ++n) {
    const ScoredDocument next{static_cast<int64_t>(n), scores[n]};
    if (count < selected.size()) {
      selected[count++] = next;
      std::push_heap(selected.begin(), selected.begin() + static_cast<ptrdiff_t>(count), is_better);
    } else if (is_better(next, selected.front())) {
      std::pop_heap(selected.begin(), selected.end(), is_better);
      selected.back() = next;
      std::push_heap(selected.begin(), selected.end(), is_better);
    }
  }
  std::sort_heap(selected.begin(), selected.end(), is_better);
}

}  // namespace msa::kernels
