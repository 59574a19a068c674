#include "msa/train/mining.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "msa/base/error.h"
#include "msa/samples/asked_memory.h"
#include "msa/samples/memory_drawer.h"
#include "msa/samples/random.h"
#include "msa/samples/similar_documents.h"

namespace msa::train {
namespace {

/// Draws of documents, apart from those of batches and questions of the same step.
constexpr uint64_t kBeside = 2;

/// Of the question and the words around it.
int64_t num_routing_tokens(const text::PromptLayout& layout, std::string_view question) {
  return std::ranges::count(layout.question(question).roles, text::kQuestionRole);
}

/// Fills the memory with documents in an order that follows from seed and step.
void add_others(const samples::TrainCorpus& corpus, const samples::Mixture& mixture,
                const MiningOptions& options, samples::AskedMemory& memory) {
  const samples::MemoryDrawer drawer(corpus, mixture);
  std::vector<int32_t> others(static_cast<size_t>(corpus.num_documents()));
  std::iota(others.begin(), others.end(), 0);
  std::erase_if(others, [&](int32_t document) { return !drawer.may_enter(document); });
  samples::Random random(options.seed, {static_cast<uint64_t>(options.step), kBeside});
  random.shuffle(others);
  for (const int32_t document : others) {
    if (!memory.add(document)) return;
  }
}

}  // namespace

Mined mine(const samples::TrainCorpus& corpus, const text::PromptLayout& layout,
           const samples::Mixture& mixture, const LayerMath& math, const ModelTensors& tensors,
           const MiningOptions& options) {
  const MiningConfig& wanted = options.wanted;
  samples::AskedMemory memory(corpus, layout, wanted.memory_tokens);
  std::vector<samples::WrittenQuestion> asked;
  for (const auto& one : samples::draw_searched(
           corpus, mixture,
           {.seed = options.seed, .step = options.step, .num_questions = wanted.questions})) {
    const bool is_short =
        num_routing_tokens(layout, one.question.text) <= mixture.max_question_tokens;
    if (is_short && memory.ask(one.question)) asked.push_back(one);
  }
  MSA_CHECK(!asked.empty(), "mining: no question whose documents fit into ", wanted.memory_tokens,
            " tokens");
  add_others(corpus, mixture, options, memory);
  samples::check(memory.batch(), layout.tokenizer().vocab_size());

  const int64_t depth = std::max(wanted.documents + samples::kMoreDocuments, options.top_k);
  const auto ranked = rank_documents(
      math, tensors, memory.batch(),
      {.top_k = options.top_k, .depth = depth, .type = options.type, .stop = options.stop});
  const auto places = ranked.accessor<int64_t, 2>();
  std::vector<std::vector<int32_t>> found(asked.size());
  for (size_t i = 0; i < found.size(); ++i) {
    for (int64_t rank = 0; rank < ranked.size(1); ++rank) {
      const int64_t place = places[static_cast<int64_t>(i)][rank];
      found[i].push_back(memory.documents()[static_cast<size_t>(place)]);
    }
  }
  return {.groups = samples::similar_documents(corpus, mixture, asked, found, wanted.documents),
          .recall = recall_of(memory.batch(), ranked, options.top_k)};
}

std::vector<NamedTensor> to_tensors(const std::vector<std::vector<int32_t>>& groups) {
  if (groups.empty()) return {};
  std::vector<int32_t> documents;
  std::vector<int64_t> ends;
  for (const auto& group : groups) {
    documents.insert(documents.end(), group.begin(), group.end());
    ends.push_back(static_cast<int64_t>(documents.size()));
  }
  return {{.name = "documents", .tensor = at::tensor(documents, at::kInt)},
          {.name = "ends", .tensor = at::tensor(ends, at::kLong)}};
}

std::vector<std::vector<int32_t>> to_groups(const std::vector<NamedTensor>& tensors) {
  if (tensors.empty()) return {};
  const auto is_list = [&](size_t i, const char* name, at::ScalarType type) {
    return tensors[i].name == name && tensors[i].tensor.scalar_type() == type &&
           tensors[i].tensor.dim() == 1;
  };
  if (tensors.size() != 2 || !is_list(0, "documents", at::kInt) || !is_list(1, "ends", at::kLong)) {
    throw Error(ErrorCode::kCorruption, "groups of similar documents are not those of a run");
  }
  const auto documents = tensors[0].tensor.accessor<int32_t, 1>();
  const auto ends = tensors[1].tensor.accessor<int64_t, 1>();
  std::vector<std::vector<int32_t>> groups;
  int64_t begin = 0;
  for (int64_t i = 0; i < ends.size(0); begin = ends[i++]) {
    if (ends[i] < begin || ends[i] > documents.size(0)) {
      throw Error(ErrorCode::kCorruption, "group ", i, " of similar documents ends at ", ends[i],
                  ", wanted [", begin, ", ", documents.size(0), "]");
    }
    auto& group = groups.emplace_back();
    for (int64_t j = begin; j < ends[i]; ++j) group.push_back(documents[j]);
  }
  return groups;
}

}  // namespace msa::train
