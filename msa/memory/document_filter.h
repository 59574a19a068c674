#pragma once
// Which documents of a bank count, by what is known of them.

#include <string>
#include <string_view>
#include <vector>

#include "msa/base/json.h"
#include "msa/memory/bank_facts.h"

namespace msa::memory {

/// Conditions of the form KEY OP VALUE, of which all must hold; none: every document counts. KEY is
/// an attribute, or, of a document without an attribute of that name, `name`, `title` or `source`.
///
///   =   the attribute is the string VALUE, or the number, true, false or null that VALUE spells;
///       of an array, one of its elements is
///   !=  the opposite of =, so that it also holds where there is no such attribute
///   < <= > >=   both are numbers, compared as such; or both are not, and the attribute is a
///       string, compared by bytes (dates as 2024-05-31 come out in their order)
class DocumentFilter {
 public:
  DocumentFilter() = default;

  /// Throws Error(kInvalidArgument) naming the condition that is none.
  explicit DocumentFilter(const std::vector<std::string>& conditions);

  bool is_empty() const { return conditions_.empty(); }

  /// Throws Error(kCorruption) naming the document if its attributes are no JSON object.
  bool matches(const Document& document) const;

 private:
  enum class Comparison { kEqual, kNotEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };

  struct Condition {
    std::string key;
    Comparison comparison = Comparison::kEqual;
    std::string text;
    Json value;  // that the text spells, if it is a number, true, false or null; else discarded
  };

  static Condition parse(const std::string& condition);
  static bool is_equal(const Condition& condition, const Json& attribute);
  static bool holds(const Condition& condition, const Json& attribute);

  std::vector<Condition> conditions_;
};

}  // namespace msa::memory
