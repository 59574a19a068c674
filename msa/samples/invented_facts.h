#pragma once
// Facts about invented names, many at once that are easily taken for each other, and the texts that
// tell them: only who compares whole names and whole questions finds the right one.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "msa/samples/random.h"

namespace msa::samples {

struct InventedFact {
  std::string name;
  int64_t relation = 0;  // of invented_relations.h
  std::string answer;    // the value
  std::string sentence;  // that tells it, with name and answer once each as whole words
};

/// Asked in one of several ways, in the case of its pattern.
std::string question_about(const InventedFact& fact, Random& random);

/// Facts of one memory. No two tell the same of one name, however it is written.
/// Not for use by several threads.
class FactInventor {
 public:
  /// Facts come in groups: of one relation and other names, of names that are alike, of one name
  /// and other relations, or alone.
  InventedFact next(Random& random);

 private:
  enum class Group { kAlone, kRelation, kAlikeNames, kName };

  void begin_group(Random& random);
  std::optional<InventedFact> drawn(Random& random) const;

  Group group_ = Group::kAlone;
  int64_t left_ = 0;      // of the group
  std::string name_;      // of the group's first fact; empty: it is to come
  int64_t relation_ = 0;  // the same
  std::unordered_map<std::string, std::vector<int64_t>> told_;  // relations by name in lower case
};

/// `text` with `sentence` in front of one of its sentences, or behind the last if that has ended;
/// each place alike likely. Without that sentence and a blank beside it, it is `text` again.
std::string with_sentence(std::string_view text, std::string_view sentence, Random& random);

}  // namespace msa::samples
