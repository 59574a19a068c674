#pragma once
// Mutations of JSON texts that leave them JSON: what only a reader of their values can refuse.

#include <string>
#include <utility>
#include <vector>

#include "msa/base/json.h"
#include "tests/fuzz/mutation.h"

namespace msa::fuzz {

/// Nothing (a value that is discarded) where the text is no JSON, or too deep to write again.
inline OrderedJson parsed(std::string_view text) {
  const auto is_bracket = [](char c) { return c == '[' || c == '{'; };
  if (std::ranges::count_if(text, is_bracket) > 1000) return {OrderedJson::value_t::discarded};
  return OrderedJson::parse(text, nullptr, false);
}

inline std::string to_text(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

/// A value of the document: small parts of it are drawn as often as large ones.
inline OrderedJson* draw_value(OrderedJson& json, Random& random) {
  OrderedJson* value = &json;
  while (value->is_structured() && !value->empty() && !chance(random, 5)) {
    value = &*std::next(value->begin(), static_cast<ptrdiff_t>(random() % value->size()));
  }
  return value;
}

/// The same among values of which `is_wanted` is true; null if some draws find none.
template <typename IsWanted>
OrderedJson* draw_value(OrderedJson& json, Random& random, const IsWanted& is_wanted) {
  for (int i = 0; i < 20; ++i) {
    OrderedJson* value = draw_value(json, random);
    if (is_wanted(*value)) return value;
  }
  return nullptr;
}

/// A string or a key of the document.
inline std::string draw_string(OrderedJson& json, Random& random) {
  OrderedJson* value =
      draw_value(json, random, [](const OrderedJson& v) { return v.is_string() || v.is_object(); });
  if (value == nullptr || (value->is_object() && value->empty())) return "x";
  if (value->is_string()) return value->get<std::string>();
  return std::next(value->begin(), static_cast<ptrdiff_t>(random() % value->size())).key();
}

/// A number that says as much as another one of the document, or as it has parts, or one off.
inline OrderedJson draw_integer(OrderedJson& json, Random& random) {
  OrderedJson* value = draw_value(json, random, [](const OrderedJson& v) {
    return v.is_number_integer() || v.is_structured();
  });
  const int64_t off = static_cast<int64_t>(random() % 3) - 1;
  if (value == nullptr) return off;
  if (value->is_structured()) return static_cast<int64_t>(value->size()) + off;
  constexpr int64_t kFar = int64_t{1} << 62;
  const auto number = value->get<int64_t>();
  return number < -kFar || number > kFar ? number : number + off;
}

inline void change_value(OrderedJson& json, Random& random) {
  const auto is_container = [](const OrderedJson& v) { return v.is_structured() && !v.empty(); };
  const auto draw_place = [&](OrderedJson& of) {
    return std::next(of.begin(), static_cast<ptrdiff_t>(random() % of.size()));
  };
  switch (random() % 8) {
    case 0:
    case 1: {
      OrderedJson* number =
          draw_value(json, random, [](const OrderedJson& v) { return v.is_number(); });
      if (number != nullptr) *number = draw_integer(json, random);
      return;
    }
    case 2: {  // a value of elsewhere
      const OrderedJson copy = *draw_value(json, random);
      *draw_value(json, random) = copy;
      return;
    }
    case 3: {
      OrderedJson* from = draw_value(json, random, is_container);
      if (from != nullptr) from->erase(draw_place(*from));
      return;
    }
    case 4: {  // one more
      OrderedJson* into = draw_value(json, random, is_container);
      if (into == nullptr) return;
      const OrderedJson copy = *draw_place(*into);
      if (into->is_object()) {
        (*into)[draw_string(json, random) + (chance(random, 2) ? "" : "2")] = copy;
      } else {
        into->insert(draw_place(*into), copy);
      }
      return;
    }
    case 5: {  // another key
      const std::string key = draw_string(json, random) + (chance(random, 2) ? "" : "2");
      OrderedJson* of = draw_value(
          json, random, [](const OrderedJson& v) { return v.is_object() && !v.empty(); });
      if (of == nullptr) return;
      const auto place = draw_place(*of);
      const OrderedJson value = *place;
      of->erase(place);
      (*of)[key] = value;
      return;
    }
    case 6: {
      const std::string text = draw_string(json, random);
      OrderedJson* string =
          draw_value(json, random, [](const OrderedJson& v) { return v.is_string(); });
      if (string == nullptr) return;
      const auto before = string->get<std::string>();
      *string = chance(random, 3)   ? with_other_number(before, random)
                : chance(random, 2) ? text
                                    : before + text;
      return;
    }
    default: {
      const OrderedJson others[] = {
          nullptr, true, false, "", 0, -1, 1.5, OrderedJson::array(), OrderedJson::object()};
      *draw_value(json, random) = others[random() % std::size(others)];
    }
  }
}

/// A few such changes; as with_text_mutated in other cases, and where the text is no JSON.
inline std::string with_json_mutated(const std::string& text, size_t max_size, Random& random) {
  if (chance(random, 2)) {
    OrderedJson json = parsed(text);
    if (!json.is_discarded()) {
      do {
        change_value(json, random);
      } while (chance(random, 3));
      std::string after = to_text(json);
      if (after.size() <= max_size) return after;
    }
  }
  return with_text_mutated(text, "{}[],:\"", max_size, random);
}

}  // namespace msa::fuzz
