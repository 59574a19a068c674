#pragma once
// The rules that have kernels, in the shapes and surroundings that may go wrong: tests of a GPU and
// of the wiring on the host run the same ones.

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <string>
#include <utility>

#include "msa/autograd/attention_heads.h"
#include "msa/autograd/gather_rows.h"
#include "msa/autograd/pool_chunks.h"
#include "msa/autograd/rms_norm.h"
#include "msa/autograd/swiglu.h"
#include "msa/autograd/test_tensors.h"
#include "msa/autograd/token_loss.h"
#include "msa/autograd/unit_heads.h"

namespace msa::autograd {

/// A rule whose other arguments follow its inputs to a device.
using DeviceRule = std::function<at::Tensor(const Tensors& inputs, at::Device device)>;

struct RuleCase {
  std::string name;
  DeviceRule rule;
  Tensors inputs;           // float64, on the CPU
  size_t num_values = 1;    // inputs that are values; the others, weights, stay float32 or wider
  bool has_kernels = true;  // of bfloat16 values
  bool has_inner_rules = false;  // on results of others, which are aligned in any surrounding
  bool is_spread = true;         // into every surrounding; else it is run as it is
};

/// The result, and the gradients of all inputs; undefined where there is none.
inline Tensors differentiate(const RuleCase& c, at::Device device, at::ScalarType type) {
  constexpr uint32_t kSeed = 993;
  Tensors leaves;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const auto own = i < c.num_values || type == at::kDouble ? type : at::kFloat;
    leaves.push_back(c.inputs[i].to(device, own).detach().clone().requires_grad_());
  }
  const auto result = c.rule(leaves, device);
  EXPECT_EQ(result.device().type(), device.type());
  (result * random_tensor(result.sizes(), kSeed).to(result.options())).sum().backward();
  Tensors all{result.detach()};
  for (const auto& leaf : leaves) {
    all.push_back(leaf.grad());
    if (!leaf.grad().defined()) continue;
    EXPECT_EQ(leaf.grad().scalar_type(), leaf.scalar_type());
  }
  return all;
}

/// A gradient that is not there counts as zeros.
inline void expect_equal(const Tensors& got, const Tensors& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    SCOPED_TRACE(i == 0 ? "result" : "gradient of input " + std::to_string(i - 1));
    if (!got[i].defined() && !wanted[i].defined()) continue;
    const auto numbers = [](const at::Tensor& one, const at::Tensor& other) {
      return one.defined() ? one.cpu().to(at::kDouble) : at::zeros(other.sizes(), at::kDouble);
    };
    const auto expected = numbers(wanted[i], got[i]);
    const auto received = numbers(got[i], wanted[i]);
    ASSERT_EQ(received.sizes(), expected.sizes());
    if (expected.numel() == 0) continue;
    const double error = (received - expected).abs().max().item<double>();
    EXPECT_LE(error, tolerance * (1e-3 + expected.abs().max().item<double>()));
  }
}

constexpr int64_t kFewRows = 40;

inline void add_norm_cases(std::vector<RuleCase>& cases) {
  constexpr double kEps = 1e-6;
  const auto add = [&](const std::string& name, size_t num_values, int64_t dim, auto&& rule,
                       bool has_inner_rules = false) {
    for (const int64_t rows : {0, 1, 37, 300}) {
      Tensors inputs;
      for (uint32_t i = 0; i < num_values; ++i) inputs.push_back(random_tensor({rows, dim}, i + 1));
      inputs.push_back(random_tensor({dim}, 4));
      cases.push_back({.name = name + " of " + std::to_string(rows) + " rows",
                       .rule = [=](const Tensors& in, at::Device) { return rule(in); },
                       .inputs = inputs,
                       .num_values = num_values,
                       .has_kernels = dim % 8 == 0,
                       .has_inner_rules = has_inner_rules,
                       .is_spread = rows <= kFewRows});
    }
  };
  const auto norm = [](const Tensors& in) { return rms_norm(in[0], in[1], kEps); };
  add("norms", 1, 96, norm);
  add("norms of odd width", 1, 13, norm);
  add("sums and norms", 2, 96, [](const Tensors& in) {
    const auto both = add_rms_norm(in[0], in[1], in[2], kEps);
    return at::cat({both.sum, both.normed, both.sum}, 1);
  });
  add("sums alone", 2, 96,
      [](const Tensors& in) { return add_rms_norm(in[0], in[1], in[2], kEps).sum; });
  add("norms of sums", 2, 96,
      [](const Tensors& in) { return add_rms_norm(in[0], in[1], in[2], kEps).normed; });
  add("norms of doubles", 1, 96, [](const Tensors& in) {
    const auto both = add_rms_norm(in[0], in[0], in[1], kEps);
    return at::cat({both.sum, both.normed}, 1);
  });
  add("rows and norms", 1, 96, [](const Tensors& in) {
    const auto both = add_rms_norm(in[0], {}, in[1], kEps);
    return at::cat({both.normed, both.sum, in[0]}, 1);
  });
  add("rows alone", 1, 96,
      [](const Tensors& in) { return add_rms_norm(in[0], {}, in[1], kEps).sum; });
  add(
      "a residual stream", 2, 96,
      [](const Tensors& in) {
        const auto first = add_rms_norm(in[0], {}, in[2], kEps);
        const auto second = add_rms_norm(first.sum, first.normed * in[1], in[2], kEps);
        return add_rms_norm(second.sum, second.normed, in[2], kEps).normed;
      },
      true);
}

inline void add_head_cases(std::vector<RuleCase>& cases) {
  for (const int64_t rows : {0, 1, 37, 300}) {
    for (const int64_t dim : {16, 20, 64, 128}) {
      const auto angle = random_tensor({rows, dim / 2}, 5);
      for (const int64_t num_heads : {0, 6}) {
        const HeadLayout layout{.num_heads = num_heads, .num_kv_heads = 2, .head_dim = dim};
        // All of them, then each alone.
        for (const int part : {-1, 0, 1, 2}) {
          if ((part == 0 && num_heads == 0) || (part >= 0 && rows > kFewRows)) continue;
          const auto rule = [=](const Tensors& in, at::Device device) {
            const auto angles = [&](const at::Tensor& of) {
              return of.to(device, in[1].scalar_type());
            };
            const auto heads = attention_heads(in[0], layout, in[1], in[2], 1e-6,
                                               angles(angle.cos()), angles(angle.sin()));
            if (part == 0) return heads.q;
            if (part > 0) return part == 1 ? heads.k : heads.v;
            const auto keys = at::cat({heads.v, heads.k}, 1);
            return num_heads > 0 ? at::cat({keys, heads.q}, 1) : keys;
          };
          cases.push_back({.name = "part " + std::to_string(part) + " of " +
                                   std::to_string(num_heads) + " + 4 heads of " +
                                   std::to_string(dim) + ", " + std::to_string(rows) + " rows",
                           .rule = rule,
                           .inputs = {random_tensor({rows, (num_heads + 4) * dim}, 6),
                                      random_tensor({dim}, 7), random_tensor({dim}, 8)},
                           .has_kernels = dim % 16 == 0,
                           .is_spread = rows <= kFewRows});
        }
      }
    }
    for (const int64_t dim : {8, 12, 64, 264}) {
      cases.push_back(
          {.name = "unit heads of " + std::to_string(dim) + ", " + std::to_string(rows) + " rows",
           .rule = [](const Tensors& in, at::Device) { return unit_heads(in[0]); },
           .inputs = {random_tensor({rows, 2, dim}, 9)},
           .has_kernels = dim % 8 == 0 && dim <= 256,
           .is_spread = rows <= kFewRows});
    }
    for (const int64_t dim : {12, 72}) {
      cases.push_back(
          {.name = "gates of " + std::to_string(dim) + ", " + std::to_string(rows) + " rows",
           .rule = [](const Tensors& in, at::Device) { return swiglu(in[0]); },
           .inputs = {random_tensor({rows, 2 * dim}, 10)},
           .has_kernels = dim % 8 == 0,
           .is_spread = rows <= kFewRows});
    }
  }
}

/// A tensor that begins behind one more number.
inline at::Tensor behind_another(const at::Tensor& tensor) {
  return at::cat({at::zeros({1}, tensor.options()), tensor}).narrow(0, 1, tensor.size(0));
}

inline void add_row_cases(std::vector<RuleCase>& cases) {
  for (const int64_t width : {12, 48}) {
    const std::string of_width = ", " + std::to_string(width) + " wide";
    for (const auto& offsets :
         {std::vector<int32_t>{0, 16, 32, 33, 33, 47}, std::vector<int32_t>{0, 1},
          std::vector<int32_t>{0, 0, 0}, std::vector<int32_t>{0}}) {
      cases.push_back({.name = std::to_string(offsets.size() - 1) + " chunks" + of_width,
                       .rule =
                           [=](const Tensors& in, at::Device device) {
                             return pool_chunks(in[0],
                                                behind_another(tensor_of(offsets).to(device)));
                           },
                       .inputs = {random_tensor({offsets.back(), width}, 11)},
                       .has_kernels = width % 8 == 0});
    }
    const std::vector<int64_t> many(300, 7);
    for (const auto& rows : {std::vector<int64_t>{3, 0, 3, 3, 9, 1, 0}, std::vector<int64_t>{5},
                             std::vector<int64_t>{}, many}) {
      const std::string name = std::to_string(rows.size()) + " rows read" + of_width;
      cases.push_back({.name = name,
                       .rule =
                           [=](const Tensors& in, at::Device device) {
                             return gather_rows(in[0], behind_another(tensor_of(rows).to(device)));
                           },
                       .inputs = {random_tensor({10, width}, 12)},
                       .has_kernels = width % 8 == 0});
      cases.push_back(
          {.name = name + " of two sources",
           .rule =
               [=](const Tensors& in, at::Device device) {
                 const auto shared = rows_to_gather(tensor_of(rows).to(device), 10);
                 return at::cat({gather_rows(in[0], shared), gather_rows(in[1], shared)}, 1);
               },
           .inputs = {random_tensor({10, width}, 13), random_tensor({10, width}, 14)},
           .num_values = 2,
           .has_kernels = width % 8 == 0});
    }
    cases.push_back({.name = "rows of nothing" + of_width,
                     .rule =
                         [](const Tensors& in, at::Device device) {
                           return gather_rows(in[0], tensor_of<int64_t>({}).to(device));
                         },
                     .inputs = {random_tensor({0, width}, 15)},
                     .has_kernels = width % 8 == 0});
  }
}

inline void add_loss_cases(std::vector<RuleCase>& cases) {
  // The last has several blocks of logits on the CPU, of a number of rows that is rounded up.
  for (const auto& [count, vocab_size] :
       {std::pair<int64_t, int64_t>{0, 800}, {1, 800}, {37, 800}, {37, 804}, {1801, 2008}}) {
    const auto targets = at::arange(count, at::kLong).mul_(83).remainder_(vocab_size);
    const auto weights = random_tensor({count}, 16).abs().to(at::kFloat);
    // Its loss, and that of each token, which has no gradient.
    const auto rule = [=](const Tensors& in, at::Device device) {
      const auto learned = token_loss(in[0], in[1], behind_another(targets.to(device)),
                                      behind_another(weights.to(device)));
      return at::cat({learned.loss.unsqueeze(0), learned.each.to(learned.loss.scalar_type())});
    };
    cases.push_back(
        {.name = std::to_string(count) + " losses of " + std::to_string(vocab_size),
         .rule = rule,
         .inputs = {random_tensor({count, 16}, 17) * 0.25, random_tensor({vocab_size, 16}, 18)},
         .has_kernels = vocab_size % 8 == 0 && count > 0,
         .is_spread = count <= kFewRows});
  }
}

/// The case with what stands around its rule.
inline RuleCase surrounded(const RuleCase& c, const std::string& how,
                           const std::function<Tensors(Tensors)>& before,
                           const std::function<at::Tensor(at::Tensor, const Tensors&)>& behind) {
  RuleCase out = c;
  out.name += ", " + how;
  out.rule = [=, rule = c.rule](const Tensors& in, at::Device device) {
    const auto result = rule(before ? before(in) : in, device);
    return behind ? behind(result, in) : result;
  };
  return out;
}

/// The case where gradients and values lie otherwise, or are fewer.
inline void add_surroundings(std::vector<RuleCase>& cases, const RuleCase& c) {
  const size_t num_values = c.num_values;
  const auto values_by = [=](auto&& change) {
    return [=](Tensors in) {
      for (size_t i = 0; i < num_values; ++i) in[i] = change(in[i]);
      return in;
    };
  };
  cases.push_back(surrounded(c, "gradient transposed", {}, [](at::Tensor result, const Tensors&) {
    return result.transpose(0, -1);
  }));
  cases.push_back(surrounded(c, "gradient repeated", {},
                             [](at::Tensor result, const Tensors&) { return result.sum(0); }));
  cases.push_back(surrounded(c, "gradient unaligned", {}, [](at::Tensor result, const Tensors&) {
    return at::cat({at::ones({3}, result.options()), result.flatten()});
  }));
  cases.push_back(
      surrounded(c, "values needed elsewhere", {}, [=](at::Tensor result, const Tensors& in) {
        return at::cat({result.flatten(), in[num_values - 1].flatten().to(result.scalar_type())});
      }));
  cases.push_back(surrounded(c, "values among columns", values_by([](const at::Tensor& x) {
                               const auto wide = at::cat({x.narrow(-1, 0, 8) * 2, x, x * 3}, -1);
                               return wide.narrow(-1, 8, x.size(-1));
                             }),
                             {}));
  auto unaligned = surrounded(c, "values unaligned", values_by([](const at::Tensor& x) {
                                return behind_another(x.flatten()).view(x.sizes());
                              }),
                              {});
  unaligned.has_kernels &= c.inputs[0].numel() == 0 || c.has_inner_rules;
  cases.push_back(unaligned);
  if (num_values == c.inputs.size()) return;
  cases.push_back(surrounded(c, "weights fixed",
                             [=](Tensors in) {
                               for (size_t i = num_values; i < in.size(); ++i)
                                 in[i] = in[i].detach();
                               return in;
                             },
                             {}));
  cases.push_back(surrounded(c, "values fixed",
                             values_by([](const at::Tensor& x) { return x.detach(); }),
                             [](at::Tensor result, const Tensors& in) {
                               return result + 0 * in.back().sum().to(result);
                             }));
}

inline std::vector<RuleCase> kernel_rule_cases() {
  std::vector<RuleCase> cases;
  add_norm_cases(cases);
  add_head_cases(cases);
  add_row_cases(cases);
  add_loss_cases(cases);
  const std::vector<RuleCase> plain = cases;
  for (const RuleCase& c : plain) {
    if (c.is_spread) add_surroundings(cases, c);
  }
  return cases;
}

}  // namespace msa::autograd
