#include "msa/train/step_memory.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "msa/base/json.h"
#include "msa/base/test_paths.h"
#include "msa/model/parameter_shapes.h"
#include "msa/samples/random_batch.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

model::ModelConfig shape_4b() {
  const auto path = source_folder() / "bench/shapes/msa-4b.json";
  return model::parse_config(parse_json(read_file(real_file_system(), path, 1 << 20), "4B"), "4B");
}

StepMemory memory_of(const model::ModelConfig& config, bool recomputes, OptimizerMethod optimizer) {
  const samples::Batch batch = samples::random_batch({.vocab_size = config.vocab_size,
                                                      .memory_tokens = 16'384,
                                                      .document_tokens = 400,
                                                      .num_naming = 64,
                                                      .num_reading = 8,
                                                      .sequence_tokens = 16'384});
  ForwardOptions options;
  options.type = at::kBFloat16;
  options.weights = {.term = {1, 1, 0, 1}, .auxiliary = 1};
  options.recomputes_layers = recomputes;
  return step_memory(config, batch, options, optimizer);
}

TEST(StepMemory, WeightsAndOptimizerAreThoseOfTheShape) {
  const model::ModelConfig config = small_config();
  int64_t values = 0;
  int64_t matrices = 0;  // that Muon moves
  for (const auto& [name, shape] : model::parameter_shapes(config)) {
    int64_t number = 1;
    for (const int64_t side : shape) number *= side;
    values += number;
    if (shape.size() == 2 && name != "model.embed_tokens.weight") matrices += number;
  }
  const StepMemory adamw = memory_of(config, true, OptimizerMethod::kAdamW);
  EXPECT_EQ(adamw.weights, 4 * values + 2 * matrices);  // and in bfloat16, for products
  EXPECT_EQ(adamw.gradients, 4 * values);
  EXPECT_EQ(adamw.optimizer, 8 * values);
  const StepMemory muon = memory_of(config, true, OptimizerMethod::kMuon);
  EXPECT_EQ(muon.optimizer, 8 * values - 4 * matrices);
}

TEST(StepMemory, The4BShapeOver16KTokensFitsA141GBDeviceIfActivationsAreMadeAgain) {
  constexpr int64_t kDevice = 141'000'000'000;
  const model::ModelConfig config = shape_4b();
  const StepMemory again = memory_of(config, true, OptimizerMethod::kAdamW);
  const StepMemory kept = memory_of(config, false, OptimizerMethod::kAdamW);
  EXPECT_LT(again.peak(), kDevice * 3 / 4);
  EXPECT_GT(kept.peak(), kDevice);
  EXPECT_LT(again.activations * 8, kept.activations);
}

}  // namespace
}  // namespace msa::train
