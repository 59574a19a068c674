#include "msa/memory/document_filter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "msa/base/error.h"

namespace msa::memory {
namespace {

/// What `text` spells if it is a number, true, false or null; else a discarded value.
Json scalar_of(const std::string& text) {
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool is_scalar = value.is_number() || value.is_boolean() || value.is_null();
  return is_scalar ? value : Json(Json::value_t::discarded);
}

/// The attribute, or what the bank itself knows under that name; a discarded value if neither is
/// there.
Json value_of(const std::string& key, const Json& attributes, const Document& document) {
  if (const auto found = attributes.find(key); found != attributes.end()) return *found;
  if (key == "name") return document.name;
  if (key == "title") return document.title;
  if (key == "source") return document.source;
  return Json(Json::value_t::discarded);
}

}  // namespace

DocumentFilter::DocumentFilter(const std::vector<std::string>& conditions) {
  for (const std::string& condition : conditions) conditions_.push_back(parse(condition));
}

DocumentFilter::Condition DocumentFilter::parse(const std::string& condition) {
  using Sign = std::pair<std::string_view, Comparison>;
  static constexpr std::array kSigns{Sign{"!=", Comparison::kNotEqual},
                                     Sign{"<=", Comparison::kLessOrEqual},
                                     Sign{">=", Comparison::kGreaterOrEqual},
                                     Sign{"=", Comparison::kEqual},
                                     Sign{"<", Comparison::kLess},
                                     Sign{">", Comparison::kGreater}};
  const size_t place = condition.find_first_of("!<>=");
  if (place != std::string::npos && place > 0) {
    const std::string_view rest = std::string_view(condition).substr(place);
    for (const auto& [sign, comparison] : kSigns) {
      if (!rest.starts_with(sign)) continue;
      const std::string text(rest.substr(sign.size()));
      return {.key = condition.substr(0, place),
              .comparison = comparison,
              .text = text,
              .value = scalar_of(text)};
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "\"", condition,
              "\" is no condition: KEY=VALUE, or with != < <= > >= in place of =");
}

bool DocumentFilter::is_equal(const Condition& condition, const Json& attribute) {
  if (attribute.is_array()) {
    return std::any_of(attribute.begin(), attribute.end(), [&](const Json& element) {
      return !element.is_array() && is_equal(condition, element);
    });
  }
  if (attribute.is_string()) return attribute.get_ref<const std::string&>() == condition.text;
  return !condition.value.is_discarded() && attribute == condition.value;
}

bool DocumentFilter::holds(const Condition& condition, const Json& attribute) {
  const bool is_absent = attribute.is_discarded();
  if (condition.comparison == Comparison::kEqual) {
    return !is_absent && is_equal(condition, attribute);
  }
  if (condition.comparison == Comparison::kNotEqual) {
    return is_absent || !is_equal(condition, attribute);
  }
  const auto compare = [&](const auto& left, const auto& right) {
    switch (condition.comparison) {
      case Comparison::kLess:
        return left < right;
      case Comparison::kLessOrEqual:
        return left <= right;
      case Comparison::kGreater:
        return left > right;
      default:
        return left >= right;
    }
  };
  if (condition.value.is_number()) {
    return attribute.is_number() && compare(attribute, condition.value);
  }
  return attribute.is_string() && compare(attribute.get_ref<const std::string&>(), condition.text);
}

bool DocumentFilter::matches(const Document& document) const {
  if (conditions_.empty()) return true;
  const std::string what = "the attributes of document \"" + document.name + "\"";
  Json attributes;
  try {
    attributes = parse_json(document.attributes, what);
  } catch (const Error& error) {
    throw Error(ErrorCode::kCorruption, error.what());
  }
  if (!attributes.is_object()) throw Error(ErrorCode::kCorruption, what, " are no JSON object");
  return std::all_of(conditions_.begin(), conditions_.end(), [&](const Condition& condition) {
    return holds(condition, value_of(condition.key, attributes, document));
  });
}

}  // namespace msa::memory
