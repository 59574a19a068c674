#include "msa/autograd/pair_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "msa/autograd/gather_rows.h"
#include "msa/autograd/wide_type.h"

namespace msa::autograd {

at::Tensor pair_scores(const at::Tensor& queries, const at::Tensor& keys,
                       const at::Tensor& query_rows, const at::Tensor& key_rows) {
  expect_values("pair_scores", {queries, keys});
  MSA_CHECK(queries.dim() == 2 && keys.dim() == 2 && queries.size(1) == keys.size(1) &&
                queries.scalar_type() == keys.scalar_type(),
            "pair_scores: queries must be [Q, F] and keys [C, F] of one type, got ",
            queries.scalar_type(), " ", queries.sizes(), " and ", keys.scalar_type(), " ",
            keys.sizes());
  MSA_CHECK(query_rows.sizes() == key_rows.sizes(), "pair_scores: ", query_rows.sizes(),
            " query rows and ", key_rows.sizes(), " key rows do not pair");
  const auto type = wide_type(queries);
  return (gather_rows(queries, query_rows).to(type) * gather_rows(keys, key_rows).to(type)).sum(-1);
}

}  // namespace msa::autograd
