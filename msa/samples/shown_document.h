#pragma once
// A document as it stands in a memory or in a sequence: with its id, with its title or without.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "msa/samples/train_corpus.h"

namespace msa::samples {

struct ShownDocument {
  int32_t document = 0;
  int64_t id = 0;
  TrainCorpus::Title title = TrainCorpus::Title::kShown;
  const std::string* told = nullptr;  // read in place of the corpus's text, without title
};

/// Its text without the title.
std::string_view passage_of(const TrainCorpus& corpus, const ShownDocument& shown);

/// Its text as it is read: the title stands in front where it is shown.
std::string shown_text(const TrainCorpus& corpus, const ShownDocument& shown);

/// Adds the tokens of layout.document(id, shown_text).
void append_document(const TrainCorpus& corpus, const ShownDocument& shown,
                     std::vector<int32_t>& tokens);

/// Adds the tokens of "[id]. text\n", as layout.appended_texts has them.
void append_text(const TrainCorpus& corpus, const ShownDocument& shown,
                 std::vector<int32_t>& tokens);

/// Adds the same of a text that is no document of the corpus, title included.
void append_text(const text::PromptLayout& layout, int64_t id, std::string_view text,
                 std::vector<int32_t>& tokens);

/// Tokens of "<|im_start|>[id]", with which a framed document begins: digits are tokens of their
/// own, and nobody can know them.
size_t opening_tokens(int64_t id);

}  // namespace msa::samples
