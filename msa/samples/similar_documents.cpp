#include "msa/samples/similar_documents.h"

#include <algorithm>
#include <string>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/corpus/words.h"
#include "msa/samples/facts.h"
#include "msa/samples/memory_drawer.h"
#include "msa/samples/question_drawer.h"
#include "msa/samples/random.h"

namespace msa::samples {
namespace {

/// Of what is searched for: gold documents and those that hold the answer are left out.
constexpr int64_t kMoreDocuments = 10;

bool answers_too(const TrainCorpus& corpus, const WrittenQuestion& asked, int32_t document) {
  const auto& gold = asked.question.documents;
  if (std::ranges::find(gold, document) != gold.end()) return true;
  if (is_telling(asked.answer)) {
    const std::string text = corpus::lower_case(corpus.text(document));
    return text.find(corpus::lower_case(asked.answer)) != std::string::npos;
  }
  const std::string_view title = plain_title(corpus.title(document));
  return std::ranges::any_of(gold,
                             [&](int32_t one) { return plain_title(corpus.title(one)) == title; });
}

}  // namespace

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

std::vector<std::vector<int32_t>> WordIndex::search(std::span<const std::string_view> questions,
                                                    int64_t num_documents) const {
  std::vector<std::vector<int32_t>> found(questions.size());
  parallel_for(static_cast<int64_t>(questions.size()), [&](int64_t i) {
    const auto place = static_cast<size_t>(i);
    for (const auto& scored : index_.search(questions[place], num_documents)) {
      found[place].push_back(documents_[static_cast<size_t>(scored.document)]);
    }
  });
  return found;
}

std::vector<std::vector<int32_t>> similar_documents(const TrainCorpus& corpus,
                                                    const Mixture& mixture, const Search& search,
                                                    const SimilarOptions& options) {
  MSA_CHECK(options.num_questions >= 0 && options.num_documents >= 1,
            "groups of similar documents need 0 questions or more and 1 document or more, got ",
            options.num_questions, " and ", options.num_documents);
  const MemoryDrawer documents(corpus, mixture);
  const QuestionDrawer drawer(corpus, documents, mixture);
  Random random(options.seed, {});
  std::vector<WrittenQuestion> asked;
  std::vector<std::string_view> texts;
  for (int64_t i = 0; i < options.num_questions; ++i) {
    if (const auto question = drawer.draw_any(random)) {
      asked.push_back(*question);
      texts.push_back(question->question.text);
    }
  }
  const auto found = search(texts, options.num_documents + kMoreDocuments);
  std::vector<std::vector<int32_t>> groups;
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto& gold = asked[i].question.documents;
    std::vector<int32_t> group(gold.begin(), gold.end());
    for (const int32_t document : found[i]) {
      const auto others = static_cast<int64_t>(group.size() - gold.size());
      if (others == options.num_documents) break;
      if (documents.may_enter(document) && !answers_too(corpus, asked[i], document)) {
        group.push_back(document);
      }
    }
    if (group.size() > gold.size()) groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace msa::samples
