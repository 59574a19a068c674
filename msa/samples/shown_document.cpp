#include "msa/samples/shown_document.h"

#include <span>

#include "msa/corpus/passage_text.h"

namespace msa::samples {

std::string_view passage_of(const TrainCorpus& corpus, const ShownDocument& shown) {
  return shown.told != nullptr ? std::string_view(*shown.told) : corpus.text(shown.document);
}

std::string shown_text(const TrainCorpus& corpus, const ShownDocument& shown) {
  const std::string_view text = passage_of(corpus, shown);
  return shown.title == TrainCorpus::Title::kShown
             ? corpus::passage_text(corpus.title(shown.document), text)
             : std::string(text);
}

void append_document(const TrainCorpus& corpus, const ShownDocument& shown,
                     std::vector<int32_t>& tokens) {
  if (shown.told == nullptr) {
    corpus.append_document(shown.document, shown.id, shown.title, tokens);
    return;
  }
  const auto more = corpus.layout().document(shown.id, shown_text(corpus, shown)).tokens;
  tokens.insert(tokens.end(), more.begin(), more.end());
}

void append_text(const TrainCorpus& corpus, const ShownDocument& shown,
                 std::vector<int32_t>& tokens) {
  if (shown.told == nullptr) {
    corpus.append_text(shown.document, shown.id, shown.title, tokens);
  } else {
    append_text(corpus.layout(), shown.id, shown_text(corpus, shown), tokens);
  }
}

void append_text(const text::PromptLayout& layout, int64_t id, std::string_view text,
                 std::vector<int32_t>& tokens) {
  const text::AppendedText appended{.id = id, .text = text};
  const auto more = layout.appended_texts(std::span(&appended, 1)).tokens;
  tokens.insert(tokens.end(), more.begin(), more.end() - 1);  // not what closes all of them
}

size_t opening_tokens(int64_t id) { return 3 + std::to_string(id).size(); }

}  // namespace msa::samples
