#include "msa/ops/linear.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/linear.h>

#include <cstdlib>
#include <optional>

#include "msa/base/error.h"

namespace msa::ops {
namespace {

using OneDnnLinear = at::Tensor(const at::Tensor&, const at::Tensor&,
                                const std::optional<at::Tensor>&, c10::string_view,
                                c10::List<std::optional<at::Scalar>>,
                                std::optional<c10::string_view>);

/// Whether oneDNN multiplies bfloat16 on this processor; it throws where it does not.
bool onednn_takes_bfloat16() {
  static const bool takes = [] {
    const auto schema =
        c10::Dispatcher::singleton().findSchema({"mkldnn::_is_mkldnn_bf16_supported", ""});
    return schema && schema->typed<bool()>().call();
  }();
  return takes;
}

/// oneDNN's product, or nothing in a torch built without it. at::linear sends float32 to MKL, which
/// runs at half the speed on processors of other makers than its own.
const c10::TypedOperatorHandle<OneDnnLinear>* onednn_linear() {
  static const auto handle = []() -> std::optional<c10::TypedOperatorHandle<OneDnnLinear>> {
    // It keeps what it compiled for the last 1,024 shapes, up to a gigabyte; prompts of any length
    // make many shapes. Read once, at the first product.
    setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", /*overwrite=*/0);
    const auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (!schema || !at::hasMKLDNN()) return std::nullopt;
    return schema->typed<OneDnnLinear>();
  }();
  return handle ? &*handle : nullptr;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  MSA_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
            "linear: x must be [T, K] and weight [N, K] with one K, got ", x.sizes(), " and ",
            weight.sizes());
  MSA_CHECK(x.scalar_type() == weight.scalar_type(), "linear: x is ", x.scalar_type(),
            ", weight is ", weight.scalar_type());
  constexpr int64_t kFewestRows = 16;
  const auto* onednn = onednn_linear();
  const bool takes_type = x.scalar_type() != at::kBFloat16 || onednn_takes_bfloat16();
  if (onednn != nullptr && takes_type && x.size(0) >= kFewestRows) {
    return onednn->call(x, weight, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(),
                        "");
  }
  return at::linear(x, weight);
}

}  // namespace msa::ops
