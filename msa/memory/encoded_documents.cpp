#include "msa/memory/encoded_documents.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "msa/base/error.h"
#include "msa/base/threads.h"

namespace msa::memory {
namespace {

/// Calls work(list) for every list of numbers, on all threads.
template <typename Encoded, typename Work>
void for_each_list(Encoded& encoded, const Work& work) {
  const auto num_layers = static_cast<int64_t>(encoded.key.size());
  parallel_for(3 * num_layers, [&](int64_t i) {
    auto& layers = i % 3 == 0 ? encoded.key : i % 3 == 1 ? encoded.value : encoded.routing_key;
    work(i, layers[static_cast<size_t>(i / 3)]);
  });
}

int64_t sum(const std::vector<int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

}  // namespace

std::vector<bool> are_finite(const EncodedDocuments& encoded) {
  const auto& counts = encoded.num_chunks;
  const int64_t all = sum(counts);
  std::vector<std::vector<bool>> found(3 * encoded.key.size(),
                                       std::vector<bool>(counts.size(), true));
  for_each_list(encoded, [&](int64_t i, const std::vector<float>& rows) {
    auto end = rows.begin();
    for (size_t n = 0; n < counts.size(); ++n) {
      const auto begin = end;
      if (all > 0) end += std::ssize(rows) / all * counts[n];
      found[i][n] = std::all_of(begin, end, [](float x) { return x - x == 0.0F; });
    }
  });
  std::vector<bool> is_finite(counts.size(), true);
  for (const std::vector<bool>& of_list : found) {
    std::transform(of_list.begin(), of_list.end(), is_finite.begin(), is_finite.begin(),
                   std::logical_and());
  }
  return is_finite;
}

void keep(const std::vector<bool>& is_kept, EncodedDocuments& encoded) {
  std::vector<int64_t>& counts = encoded.num_chunks;
  MSA_CHECK(is_kept.size() == counts.size(), counts.size(), " documents, ", is_kept.size(),
            " are to be kept or not");
  if (std::find(is_kept.begin(), is_kept.end(), false) == is_kept.end()) return;
  const int64_t all = sum(counts);
  for_each_list(encoded, [&](int64_t, std::vector<float>& rows) {
    auto from = rows.begin();
    auto to = rows.begin();
    for (size_t n = 0; n < counts.size(); ++n) {
      const auto end = from + (all > 0 ? std::ssize(rows) / all * counts[n] : 0);
      to = is_kept[n] && to == from ? end : is_kept[n] ? std::copy(from, end, to) : to;
      from = end;
    }
    rows.erase(to, rows.end());
  });
  size_t num_kept = 0;
  for (size_t n = 0; n < counts.size(); ++n) {
    if (is_kept[n]) counts[num_kept++] = counts[n];
  }
  counts.resize(num_kept);
}

}  // namespace msa::memory
