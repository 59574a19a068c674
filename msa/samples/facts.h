#pragma once
// What the first sentences of a document say of its subject, by a table of wordings: who made it,
// when it began, where it lies, what it is.

#include <string>
#include <string_view>
#include <vector>

#include "msa/samples/random.h"

namespace msa::samples {

/// A wording and the questions that it answers.
struct Relation;

struct Fact {
  std::string answer;  // a piece of the text
  const Relation* relation = nullptr;
  bool is_person = false;      // the subject
  bool is_definition = false;  // says what the subject is
};

/// `title` names the subject; without it there are no facts. `text` is valid UTF-8.
std::vector<Fact> facts_of(std::string_view title, std::string_view text);

/// A question for a fact about `subject`, in lower case but for the subject: "who directed X".
std::string question_of(const Fact& fact, std::string_view subject, Random& random);

/// The answer in other words, "the director of X": empty if the relation has none. So a question
/// about the answer's own document becomes one that needs both.
std::string description_of(const Fact& fact, std::string_view subject);

/// The title without what tells it from others: "Rome (film)" and "Rome (3)" give "Rome".
std::string_view plain_title(std::string_view title);

}  // namespace msa::samples
