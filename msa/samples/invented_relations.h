#pragma once
// What can be told of an invented name, and asked: sentences and questions as patterns.

#include <cstdint>
#include <string>
#include <string_view>

#include "msa/samples/invented_words.h"
#include "msa/samples/random.h"

namespace msa::samples {

/// Relations are numbered; all of them tell of one name and one value.
int64_t num_relations();

ValueKind value_kind_of(int64_t relation);

/// False if a question about one might be answered by what the other tells of the same name.
bool are_told_apart(int64_t one, int64_t other);

/// A sentence that has the name and the value once each.
std::string sentence_of(int64_t relation, std::string_view name, std::string_view value,
                        Random& random);

/// A question that has the name and that the value answers. How a question is put has nothing to
/// do with how its sentence is.
std::string question_of(int64_t relation, std::string_view name, Random& random);

}  // namespace msa::samples
