#include "msa/samples/similar_documents.h"

#include <algorithm>
#include <string>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/corpus/words.h"
#include "msa/samples/facts.h"
#include "msa/samples/memory_drawer.h"
#include "msa/samples/random.h"

namespace msa::samples {
namespace {

/// Draws of questions, apart from those of batches of the same step.
constexpr uint64_t kSearched = 1;

}  // namespace

std::vector<WrittenQuestion> draw_searched(const TrainCorpus& corpus, const Mixture& mixture,
                                           const SearchedOptions& options) {
  MSA_CHECK(options.num_questions >= 0 && options.step >= 0,
            "questions to search for and their step must not be negative, got ",
            options.num_questions, " and ", options.step);
  const MemoryDrawer documents(corpus, mixture);
  const QuestionDrawer drawer(corpus, documents, mixture);
  Random random(options.seed, {static_cast<uint64_t>(options.step), kSearched});
  std::vector<WrittenQuestion> questions;
  for (int64_t i = 0; i < options.num_questions; ++i) {
    if (const auto question = drawer.draw_any(random)) questions.push_back(*question);
  }
  return questions;
}

WordIndex::WordIndex(const TrainCorpus& corpus, const Mixture& mixture) {
  const MemoryDrawer drawer(corpus, mixture);
  std::string text;
  for (int64_t i = 0; i < corpus.num_documents(); ++i) {
    const auto document = static_cast<int32_t>(i);
    if (!drawer.may_enter(document)) continue;
    text = corpus.title(document);
    text += '\n';
    text += corpus.text(document);
    index_.add(text);
    documents_.push_back(document);
  }
  index_.finish();
}

std::vector<std::vector<int32_t>> WordIndex::search(std::span<const WrittenQuestion> questions,
                                                    int64_t num_documents) const {
  std::vector<std::vector<int32_t>> found(questions.size());
  parallel_for(static_cast<int64_t>(questions.size()), [&](int64_t i) {
    const auto place = static_cast<size_t>(i);
    for (const auto& scored : index_.search(questions[place].question.text, num_documents)) {
      found[place].push_back(documents_[static_cast<size_t>(scored.document)]);
    }
  });
  return found;
}

std::vector<std::vector<int32_t>> similar_documents(const TrainCorpus& corpus,
                                                    const Mixture& mixture,
                                                    std::span<const WrittenQuestion> questions,
                                                    std::span<const std::vector<int32_t>> found,
                                                    int64_t num_documents) {
  MSA_CHECK(num_documents >= 1 && found.size() == questions.size(),
            "groups of similar documents need 1 document or more and what was found for ",
            questions.size(), " questions, got ", num_documents, " and ", found.size());
  const MemoryDrawer documents(corpus, mixture);
  std::vector<std::vector<int32_t>> groups(questions.size());
  parallel_for(static_cast<int64_t>(questions.size()), [&](int64_t i) {
    const auto place = static_cast<size_t>(i);
    const WrittenQuestion& asked = questions[place];
    std::vector<int32_t>& group = groups[place];
    const auto& gold = asked.question.documents;
    group.assign(gold.begin(), gold.end());
    const size_t most = gold.size() + static_cast<size_t>(num_documents);
    for (const int32_t document : found[place]) {
      if (group.size() == most) break;
      if (documents.may_enter(document) && !answers_too(corpus, asked, document)) {
        group.push_back(document);
      }
    }
    if (group.size() == gold.size()) group.clear();
  });
  std::erase_if(groups, [](const auto& group) { return group.empty(); });
  return groups;
}

}  // namespace msa::samples
