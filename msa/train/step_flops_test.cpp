#include "msa/train/step_flops.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <atomic>
#include <iterator>
#include <string_view>

#include "msa/samples/random_batch.h"
#include "msa/train/forward.h"
#include "msa/train/parameters.h"
#include "msa/train/small_config.h"

namespace msa::train {
namespace {

/// Operations of torch's matrix products while one lives.
class CountedProducts {
 public:
  CountedProducts() {
    flops_ = 0;
    handle_ = at::addGlobalCallback(
        at::RecordFunctionCallback(&count).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  }
  ~CountedProducts() { at::removeCallback(handle_); }
  CountedProducts(const CountedProducts&) = delete;
  CountedProducts& operator=(const CountedProducts&) = delete;

  static double flops() { return flops_; }

 private:
  static std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& call) {
    if (std::string_view(call.name()) != "aten::mm") return nullptr;
    const auto a = call.inputs()[0].toTensor();
    const auto b = call.inputs()[1].toTensor();
    flops_ = flops_ + 2.0 * static_cast<double>(a.size(0) * a.size(1) * b.size(1));
    return nullptr;
  }

  static inline std::atomic<double> flops_{0};
  at::CallbackHandle handle_;
};

samples::Batch batch_of(const model::ModelConfig& config, bool asks) {
  return samples::random_batch({.seed = 5,
                                .vocab_size = config.vocab_size,
                                .memory_tokens = asks ? 300 : 0,
                                .document_tokens = 50,
                                .num_naming = asks ? 6 : 0,
                                .num_reading = asks ? 1 : 0,
                                .sequence_tokens = 900,
                                .learns_documents = true});
}

/// What torch multiplies in a step in float64, where all products with matrices are its own.
double products_of(const model::ModelConfig& config, const samples::Batch& batch,
                   const StepFlopsOptions& wanted, bool recomputes_layers = false) {
  Parameters parameters = Parameters::random(config, 1);
  parameters.train_routers_alone(wanted.routers_alone);
  ForwardOptions options;
  options.type = at::kDouble;
  options.weights = wanted.weights;
  options.recomputes_layers = recomputes_layers;
  options.totals.add(batch);
  options.routing.top_k = wanted.top_k;
  options.routing.loss.temperature = parameters["temperature"];
  const LayerMath math(config, 1024, at::kCPU);
  const ModelTensors tensors = gather_tensors(
      config, [&](const std::string& name) { return parameters.find(name); }, options.type);
  const StepInput input =
      step_input(batch, config.msa.chunk_tokens, options.weights, options.totals, at::kCPU);
  const CountedProducts counted;
  forward(math, tensors, input, options).loss.backward();
  return CountedProducts::flops();
}

TEST(StepFlops, ASmallCaseCountedByHand) {
  // E 16, H 4, G 2, D 8, F 24, V 40, 3 layers, routers in 1 and 2, chunks of 4.
  const model::ModelConfig config = small_config();
  samples::Batch batch;
  batch.head = {1, 2};
  batch.documents.add(std::vector<int32_t>{1, 2, 3, 4, 5}, 0);  // two chunks
  batch.documents.add(std::vector<int32_t>{1, 2}, 0);           // one
  batch.sequences.add(std::vector<int32_t>{4, 5, 6}, 7);        // asks with two tokens
  batch.sequences.add(std::vector<int32_t>{7, 8}, 0);
  batch.num_asking = 1;
  batch.query_rows = {0, 1};
  batch.query_offsets = {0, 2};
  batch.gold = {0};
  batch.gold_offsets = {0, 1};
  batch.targets = {.rows = {1, 3},
                   .tokens = {6, 8},
                   .weights = {1, 1},
                   .terms = {samples::LossTerm::kIds, samples::LossTerm::kLanguage}};
  const StepFlops flops =
      step_flops(config, batch, {.weights = {.term = {1, 1, 0, 0}, .auxiliary = 1}, .top_k = 1});
  // A token's products: q 16 x 32, k and v 16 x 32 together, o 32 x 16, MLP 3 of 16 x 24.
  const double whole = 2 * (512 + 512 + 512 + 1152);
  const double documents = 7 * (2 * whole + 2 * 512);  // the last router layer: k and v alone
  const double sequences =
      7 * (2 * whole + 2 * 1024) + 2 * 2 * (512 + 1152);  // two learned rows behind the last
  EXPECT_EQ(flops.layers, documents + sequences);
  // Keys 16 x 16 of seven tokens, queries 16 x 32 of two, in two layers.
  EXPECT_EQ(flops.routers, 2 * (7 * 2 * 256 + 2 * 2 * 512));
  // A pair: score and sum over 32 numbers. Documents see 15 + 3 in two layers; sequences 6 + 3, the
  // head 3, the question's three tokens two of the head each in three layers, and in two layers
  // the mean of a document's chunks, 1.5 each.
  EXPECT_EQ(flops.attention, 4 * 32 * (2 * 18 + 3 * (6 + 3 + 3 + 6) + 2 * 3 * 1.5));
  EXPECT_EQ(flops.head, 2 * 2 * 16 * 40);
  EXPECT_EQ(flops.scan, 2 * 2 * 2 * 3 * 16);  // two tokens, three chunks, 16 numbers, two layers
  EXPECT_EQ(flops.backward, 2 * (flops.layers + flops.routers + flops.attention + flops.head));
  EXPECT_EQ(flops.total(),
            3 * (flops.layers + flops.routers + flops.attention + flops.head) + flops.scan);
}

TEST(StepFlops, ProductsAreThoseThatTorchCounts) {
  // An upper half of the layers alone is taught, and here that is all that route.
  const model::ModelConfig config = small_config();
  for (const bool asks : {false, true}) {
    SCOPED_TRACE(asks ? "joint" : "language");
    const samples::Batch batch = batch_of(config, asks);
    for (const double documents : {0.0, 0.5}) {
      SCOPED_TRACE(documents);
      const StepFlopsOptions options{.weights = {.term = {1, 1, 0, 1, documents}, .auxiliary = 1},
                                     .top_k = 3};
      const StepFlops flops = step_flops(config, batch, options);
      EXPECT_EQ(products_of(config, batch, options),
                3 * (flops.layers + flops.routers + flops.head));
    }
  }
}

TEST(StepFlops, LayersThatAreMadeAgainLeaveOutTheProductsThatTheirPartsEndWith) {
  const model::ModelConfig config = small_config();
  const samples::Batch batch = batch_of(config, false);
  const StepFlopsOptions options{.weights = {.term = {1}, .auxiliary = 0}};
  const StepFlops flops = step_flops(config, batch, options);
  // Output and down projection of all tokens, behind the last attention of learned ones alone.
  const auto tokens = static_cast<double>(batch.sequences.num_tokens() + std::ssize(batch.head));
  const auto learned = static_cast<double>(num_learned(batch.targets, options.weights));
  const double last_products = 2 * (512 + 384) * (2 * tokens + learned);
  EXPECT_EQ(products_of(config, batch, options, /*recomputes_layers=*/true),
            products_of(config, batch, options) + flops.layers - last_products);
}

TEST(StepFlops, WhereRoutersLearnAloneOnlyTheirWeightsHaveABackwardPass) {
  const model::ModelConfig config = small_config();
  const samples::Batch batch = batch_of(config, true);
  const StepFlopsOptions options{
      .weights = {.term = {}, .auxiliary = 1}, .top_k = 3, .routers_alone = true};
  const StepFlops flops = step_flops(config, batch, options);
  EXPECT_EQ(flops.head, 0);
  EXPECT_EQ(flops.backward, flops.routers);
  EXPECT_EQ(products_of(config, batch, options), flops.layers + 2 * flops.routers);
}

}  // namespace
}  // namespace msa::train
