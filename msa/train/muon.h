#pragma once
// Muon: momentum whose matrix is made nearly orthogonal before it moves the weight.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "msa/train/named_tensor.h"

namespace msa::train {

/// Matrices [B, N, K] with their singular values brought near 1 by five steps of the quintic
/// X <- 3.4445 X - 4.7750 X X' X + 2.0315 (X X')^2 X on X / |X|, in the type of `matrices`.
/// Source: Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
at::Tensor orthogonalized(const at::Tensor& matrices);

struct MuonOptions {
  double momentum = 0.95;
  double weight_decay = 0.05;
};

/// M <- momentum M + (1 - momentum) G;  U = momentum M + (1 - momentum) G (Nesterov);
/// W <- (1 - rate weight_decay) W - 0.2 sqrt(max(N, K)) rate orthogonalized(U).
/// Matrices of one shape are orthogonalised side by side, in bfloat16 on a GPU and float32 on a
/// CPU.
class Muon {
 public:
  Muon(const std::vector<NamedTensor>& matrices, const MuonOptions& options);

  /// `scale` (clipping) and `is_taken` (1 or 0) are float32 scalars on the device. A matrix without
  /// a gradient stays, and so does its momentum.
  void step(double rate, const at::Tensor& scale, const at::Tensor& is_taken);

  /// "NAME/momentum": views [N, K].
  void list_state(std::vector<NamedTensor>& state) const;

 private:
  struct Group {  // of one shape
    std::vector<NamedTensor> weights;
    at::Tensor momentum;  // [weights, N, K] float32
  };
  void step_group(Group& group, double rate, const at::Tensor& scale, const at::Tensor& is_taken);

  MuonOptions options_;
  std::vector<Group> groups_;
};

}  // namespace msa::train
