#pragma once
// Mutations of tokenizers that leave them ones to be read: other tokens, merges and special tokens.

#include <string>
#include <utility>
#include <vector>

#include "tests/fuzz/json_mutation.h"

namespace msa::fuzz {

/// What tokenizer.json and the older files (vocab.json, merges.txt, added_tokens.json) both say.
struct TokenizerParts {
  OrderedJson vocab;  // spelling to id
  std::vector<std::pair<std::string, std::string>> merges;
  OrderedJson added;  // content to id

  std::string draw_token(Random& random) const {
    if (vocab.empty()) return "x";
    return std::next(vocab.begin(), static_cast<ptrdiff_t>(random() % vocab.size())).key();
  }
  bool is_sound() const { return vocab.is_object() && added.is_object(); }
};

inline void change_tokenizer(TokenizerParts& parts, Random& random) {
  const auto draw_merge = [&] { return random() % parts.merges.size(); };
  const uint64_t next_id = parts.vocab.size() + parts.added.size();
  switch (random() % 8) {
    case 0: {  // what merges make, or any token, is special too
      std::string token = parts.draw_token(random);
      if (!parts.merges.empty() && !chance(random, 3)) {
        const auto& [first, second] = parts.merges[draw_merge()];
        token = first + second;
      }
      const bool is_held = parts.vocab.contains(token) && !chance(random, 4);
      parts.added[token] = is_held ? parts.vocab.at(token) : OrderedJson(next_id);
      return;
    }
    case 1:
    case 2: {  // one more token and the merge that makes it
      const std::string first = parts.draw_token(random);
      const std::string second = chance(random, 4) ? first : parts.draw_token(random);
      if (!parts.vocab.contains(first + second)) parts.vocab[first + second] = next_id;
      const size_t place = parts.merges.empty() ? 0 : draw_merge();
      parts.merges.insert(parts.merges.begin() + static_cast<ptrdiff_t>(place), {first, second});
      return;
    }
    case 3:  // other ranks
      if (!parts.merges.empty()) std::swap(parts.merges[draw_merge()], parts.merges[draw_merge()]);
      return;
    case 4: {  // other ids
      const std::string one = parts.draw_token(random);
      const std::string other = parts.draw_token(random);
      if (!parts.vocab.contains(one) || !parts.vocab.contains(other)) return;
      std::swap(parts.vocab.at(one), parts.vocab.at(other));
      return;
    }
    case 5:
      if (parts.merges.empty()) return;
      if (chance(random, 2)) {
        parts.merges.erase(parts.merges.begin() + static_cast<ptrdiff_t>(draw_merge()));
      } else {
        parts.merges.push_back(parts.merges[draw_merge()]);
      }
      return;
    case 6:
      parts.added["<" + parts.draw_token(random) + ">"] = next_id;
      return;
    default:
      change_value(chance(random, 2) ? parts.added : parts.vocab, random);
  }
}

/// The list of merges as JSON has it, each in one of its two spellings.
inline OrderedJson merge_list(const TokenizerParts& parts, Random& random) {
  OrderedJson list = OrderedJson::array();
  for (const auto& [first, second] : parts.merges) {
    list.push_back(chance(random, 2) ? OrderedJson(first + ' ' + second)
                                     : OrderedJson::array({first, second}));
  }
  return list;
}

inline void add_merge(TokenizerParts& parts, const std::string& line) {
  const size_t blank = line.find(' ');
  if (blank == std::string::npos) return;
  parts.merges.emplace_back(line.substr(0, blank), line.substr(blank + 1));
}

/// A tokenizer.json, or nothing if it is none.
inline std::string with_tokenizer_changed(const std::string& text, Random& random) {
  OrderedJson json = parsed(text);
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object()) return {};
  json["added_tokens"];  // there before any part of it is held: a new key moves the others
  OrderedJson& model = json["model"];
  model["merges"];
  TokenizerParts parts{.vocab = model["vocab"], .merges = {}, .added = OrderedJson::object()};
  for (const OrderedJson& merge : model["merges"]) {
    if (merge.is_string()) add_merge(parts, merge.get<std::string>());
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      parts.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    }
  }
  for (const OrderedJson& token : json["added_tokens"]) {
    if (!token.is_object() || !token.contains("content") || !token["content"].is_string()) continue;
    parts.added[token["content"].get<std::string>()] = token.contains("id") ? token["id"] : nullptr;
  }
  if (!parts.is_sound()) return {};
  change_tokenizer(parts, random);
  model["vocab"] = parts.vocab;
  model["merges"] = merge_list(parts, random);
  json["added_tokens"] = OrderedJson::array();
  if (!parts.added.is_object()) return to_text(json);
  for (const auto& [content, id] : parts.added.items()) {
    json["added_tokens"].push_back({{"id", id}, {"content", content}});
  }
  return to_text(json);
}

/// The same of the older files, in this order; false if they are none.
inline bool change_tokenizer_files(std::string& vocab, std::string& merges, std::string& added,
                                   Random& random) {
  TokenizerParts parts{.vocab = parsed(vocab), .merges = {}, .added = parsed(added)};
  if (!parts.is_sound()) return false;
  for (size_t begin = 0; begin < merges.size();) {
    const size_t end = std::min(merges.find('\n', begin), merges.size());
    add_merge(parts, merges.substr(begin, end - begin));
    begin = end + 1;
  }
  change_tokenizer(parts, random);
  vocab = to_text(parts.vocab);
  added = to_text(parts.added);
  merges.clear();
  for (const auto& [first, second] : parts.merges) merges += first + ' ' + second + '\n';
  return true;
}

}  // namespace msa::fuzz
