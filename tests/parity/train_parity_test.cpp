// Losses, document scores and gradients of one training step equal the recorded ones.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "msa/base/error.h"
#include "msa/storage/safetensors.h"
#include "msa/train/compute_device.h"
#include "msa/train/forward.h"
#include "tests/parity/golden_set.h"

namespace msa::train {
namespace {

constexpr double kLossTolerance = 1e-5;
constexpr double kGradientTolerance = 5e-5;

using parity::GoldenSet;
using samples::LossTerm;

const GoldenSet& golden() {
  static const GoldenSet set(std::filesystem::path(MSA_SOURCE_DIR) / "tests/data/golden");
  return set;
}

/// Leaf tensors of the checkpoint.
std::map<std::string, at::Tensor> leaves(at::ScalarType type, at::Device device) {
  const auto file = storage::SafetensorsFile::open(
      real_file_system(), golden().folder() / "tiny-msa/model.safetensors");
  std::map<std::string, at::Tensor> named;
  for (const auto& [name, info] : file->tensors()) {
    auto tensor = at::empty(info.shape, at::kFloat);
    file->read(name, {static_cast<std::byte*>(tensor.data_ptr()), info.num_bytes});
    named[name] = tensor.to(device, type).requires_grad_(true);
  }
  named["b"] = at::full({}, kFirstBias, at::device(device).dtype(type)).requires_grad_(true);
  return named;
}

/// A sample as a batch of its own: its documents are the memory of the one sequence behind them.
samples::Batch batch_of(const Json& sample) {
  const auto tokens = parity::token_ids(sample["tokens"]);
  const auto roles = parity::token_ids(sample["roles"]);
  const auto positions = parity::token_ids(sample["positions"]);
  samples::Batch batch;
  size_t row = 0;
  const auto take = [&](auto&& belongs) {
    std::vector<int32_t> taken;
    while (row < tokens.size() && belongs(roles[row])) taken.push_back(tokens[row++]);
    return taken;
  };
  batch.head = take([](int32_t role) { return role == text::kTemplateRole; });
  for (int32_t n = 1; row < tokens.size() && roles[row] == n; ++n) {
    batch.documents.add(take([&](int32_t role) { return role == n; }), 0);
  }
  const size_t first = row;
  batch.sequences.add(take([](int32_t role) { return role <= 0; }), positions[first]);
  batch.num_asking = 1;
  for (size_t i = first; i < tokens.size(); ++i) {
    if (roles[i] == text::kQuestionRole)
      batch.query_rows.push_back(static_cast<int32_t>(i - first));
  }
  batch.query_offsets.push_back(static_cast<int32_t>(batch.query_rows.size()));
  const auto labels = parity::token_ids(sample["document_labels"]);
  for (size_t d = 0; d < labels.size(); ++d) {
    if (labels[d] == 1) batch.gold.push_back(static_cast<int32_t>(d));
  }
  batch.gold_offsets.push_back(static_cast<int32_t>(batch.gold.size()));
  const auto learn = [&](const char* key, LossTerm term) {
    const auto wanted = parity::token_ids(sample[key]);
    for (size_t i = first + 1; i < wanted.size(); ++i) {
      if (wanted[i] < 0) continue;
      batch.targets.rows.push_back(static_cast<int32_t>(i - first) - 1);
      batch.targets.tokens.push_back(wanted[i]);
      batch.targets.weights.push_back(1);
      batch.targets.terms.push_back(term);
    }
  };
  learn("labels", LossTerm::kLanguage);
  learn("reconstruction_labels", LossTerm::kReconstruction);
  if (sample["is_qa"]) learn("answer_labels", LossTerm::kAnswer);
  batch.names = {"sample"};
  samples::check(batch, 1 << 30);
  return batch;
}

double relative_error(const at::Tensor& got, const std::vector<float>& wanted) {
  const auto expected = at::tensor(wanted).to(at::kDouble);
  const auto difference = got.detach().flatten().cpu().to(at::kDouble) - expected;
  return difference.abs().max().item<double>() / expected.abs().max().item<double>();
}

void check_value(double got, double wanted, double tolerance, const std::string& what) {
  EXPECT_LE(std::abs(got - wanted), tolerance * std::abs(wanted))
      << what << ": got " << got << ", wanted " << wanted;
}

/// What a device and a type of activations may differ by.
struct Tolerance {
  double loss = kLossTolerance;
  double gradient = kGradientTolerance;
};

/// One step over both samples; compares everything.
void check_step(const std::string& method, at::ScalarType type, at::Device device,
                const Tolerance& tolerance) {
  model::ConfigOptions changes;
  changes.msa_changes = {{"aux_loss_method", method}};
  const auto config =
      model::load_config(real_file_system(), golden().folder() / "tiny-msa", changes);
  auto named = leaves(type == at::kBFloat16 ? at::kFloat : type, device);

  std::vector<samples::Batch> batches;
  ForwardOptions options;
  for (const Json& sample : golden().json("train/batch.json")) {
    options.totals.add(batches.emplace_back(batch_of(sample)));
  }
  options.type = type;
  options.weights.term[static_cast<size_t>(LossTerm::kLanguage)] = 1;
  options.weights.term[static_cast<size_t>(LossTerm::kReconstruction)] = 0.5;
  options.weights.term[static_cast<size_t>(LossTerm::kAnswer)] = 0.25;
  options.weights.auxiliary = 0.1;
  options.routing.top_k = 4;
  options.routing.forces_gold = false;
  options.routing.loss = {auxiliary_method(method), named.at("temperature"), named.at("b")};

  const LayerMath math(config, 4096, device);
  const auto tensors = gather_tensors(config, [&](const std::string& name) {
    const auto found = named.find(name);
    return found == named.end() ? at::Tensor() : found->second;
  });
  auto loss = at::zeros({}, named.at("b").options().requires_grad(false));
  auto terms = at::zeros({samples::kNumLossTerms}, at::device(device));
  auto auxiliary = at::zeros({3}, at::device(device));
  for (const auto& batch : batches) {
    const auto input =
        step_input(batch, config.msa.chunk_tokens, options.weights, options.totals, device);
    const auto losses = forward(math, tensors, input, options);
    loss = loss + losses.loss;
    terms += losses.terms;
    auxiliary += losses.auxiliary;
  }
  loss.backward();

  const auto lines = golden().lines("train/losses.jsonl");
  const auto wanted = std::find_if(
      lines.begin(), lines.end(),
      [&, name = method](const Json& line) { return line["aux_loss_method"] == name; });
  ASSERT_NE(wanted, lines.end());
  const Json& losses = (*wanted)["losses"];
  const auto term = [&](LossTerm of) { return terms[static_cast<int64_t>(of)].item<double>(); };
  check_value(loss.item<double>(), losses["total"], tolerance.loss, "total");
  check_value(term(LossTerm::kLanguage), losses["lm"], tolerance.loss, "lm");
  check_value(term(LossTerm::kReconstruction), losses["rec"], tolerance.loss, "rec");
  check_value(term(LossTerm::kAnswer), losses["ans"], tolerance.loss, "ans");
  check_value(auxiliary.mean().item<double>(), losses["aux"], tolerance.loss, "aux");
  for (int64_t slot = 0; slot < 3; ++slot) {
    const std::string layer = std::to_string(slot + 3);
    check_value(auxiliary[slot].item<double>(), (*wanted)["aux_per_layer"][layer], tolerance.loss,
                "layer " + layer);
  }

  std::string file = "train/gradients_" + method + ".safetensors";
  std::transform(file.begin(), file.end(), file.begin(), ::tolower);
  int64_t num_compared = 0;
  for (const auto& [name, tensor] : named) {
    const auto expected = golden().tensor(file, name);
    if (!expected) continue;
    ++num_compared;
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_LE(relative_error(tensor.grad(), *expected), tolerance.gradient) << name;
  }
  EXPECT_EQ(num_compared, method == "BCE" ? 22 : 21);
}

class TrainParity : public testing::TestWithParam<std::tuple<std::string, at::ScalarType>> {};

TEST_P(TrainParity, LossesAndGradientsAreTheRecordedOnes) {
  check_step(std::get<0>(GetParam()), std::get<1>(GetParam()), at::kCPU, {});
}

TEST_P(TrainParity, TheSameOnAGpu) {
  at::Device device = at::kCPU;
  try {
    device = open_compute_device("gpu");
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
  check_step(std::get<0>(GetParam()), std::get<1>(GetParam()), device, {2e-5, 2e-4});
}

INSTANTIATE_TEST_SUITE_P(Methods, TrainParity,
                         testing::Combine(testing::Values("INFONCE", "INFONCE_FOCAL",
                                                          "INFONCE_DECOUPLE",
                                                          "INFONCE_DECOUPLE_FOCAL", "BCE"),
                                          testing::Values(at::kDouble, at::kFloat)),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == at::kDouble ? "_f64" : "_f32");
                         });

}  // namespace
}  // namespace msa::train
