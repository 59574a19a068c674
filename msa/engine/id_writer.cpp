#include "msa/engine/id_writer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <queue>
#include <string>

#include "msa/base/error.h"
#include "msa/engine/sampler.h"

namespace msa::engine {
namespace {

/// Tokens of brackets. Where a vocabulary has one token for "][", that is how "]" and "[" between
/// two ids are written.
struct Brackets {
  int32_t open = 0;
  int32_t close = 0;
  std::optional<int32_t> joint;

  explicit Brackets(const text::Tokenizer& tokenizer) {
    const std::vector<int32_t> digit = tokenizer.encode("1");
    const std::vector<int32_t> two = tokenizer.encode("[1][1]");
    const auto digit_at = [&](size_t i) { return i < two.size() && two[i] == digit.front(); };
    MSA_CHECK(digit.size() == 1 && digit_at(1) && (two.size() == 5 || two.size() == 6) &&
                  digit_at(two.size() - 2),
              "the tokenizer joins the brackets of ids with their digits");
    open = two.front();
    close = two.back();
    if (two.size() == 5) joint = two[2];
  }

  /// The digits of an id.
  std::vector<int32_t> digits(const text::Tokenizer& tokenizer, int64_t id) const {
    const std::vector<int32_t> tokens = tokenizer.encode("[" + std::to_string(id) + "]");
    MSA_CHECK(tokens.size() >= 3 && tokens.front() == open && tokens.back() == close,
              "the tokenizer joins the brackets of ids with their digits");
    return {tokens.begin() + 1, tokens.end() - 1};
  }

  /// log of the sum of exp(logit) of all tokens that close an id.
  double closing_logit(std::span<const float> logits) const {
    const double one = logits[static_cast<size_t>(close)];
    if (!joint) return one;
    const double other = logits[static_cast<size_t>(*joint)];
    return std::max(one, other) + std::log1p(std::exp(-std::abs(one - other)));
  }
};

/// A node of the trie of ids: the digits that follow "[".
struct Node {
  std::map<int32_t, std::unique_ptr<Node>> children;
  std::vector<int32_t> path;        // digits to here
  double best_score = -1e300;       // of the ids below and the one that ends here
  const IdCandidate* id = nullptr;  // that ends here
};

void insert(Node& root, const std::vector<int32_t>& digits, const IdCandidate& candidate) {
  Node* node = &root;
  node->best_score = std::max(node->best_score, candidate.score);
  for (const int32_t token : digits) {
    auto& child = node->children[token];
    if (!child) {
      child = std::make_unique<Node>();
      child->path = node->path;
      child->path.push_back(token);
    }
    node = child.get();
    node->best_score = std::max(node->best_score, candidate.score);
  }
  node->id = &candidate;
}

/// Feeds tokens so that the session holds exactly `path` behind `base`, reusing what it holds of
/// it.
class Cursor {
 public:
  Cursor(model::Session& session, std::span<const float> logits)
      : session_(session), base_(session.num_tokens()), logits_(logits.begin(), logits.end()) {}

  const std::vector<float>& move_to(const std::vector<int32_t>& path) {
    if (path == held_) return logits_;
    MSA_CHECK(!path.empty(), "ids begin with a bracket");
    const auto common = std::mismatch(held_.begin(), held_.end(), path.begin(), path.end());
    auto kept = common.first - held_.begin();
    // Logits belong to the last token: one that is held must be fed again to have them.
    if (kept == static_cast<ptrdiff_t>(path.size())) --kept;
    session_.truncate(base_ + kept);
    const auto logits = session_.extend(std::span(path).subspan(static_cast<size_t>(kept)));
    logits_.assign(logits.begin(), logits.end());
    held_ = path;
    return logits_;
  }

 private:
  model::Session& session_;
  int64_t base_;
  std::vector<int32_t> held_;
  std::vector<float> logits_;
};

/// The node where the best id ends, by best-first search. `before` are the tokens that the session
/// must hold first.
const Node* best_id(const Node& root, Cursor& cursor, const std::vector<int32_t>& before,
                    const Brackets& brackets, double weight) {
  struct Entry {
    double bound;
    double log_probability;
    const Node* node;
    bool is_closed;
    bool operator<(const Entry& other) const {
      return bound != other.bound ? bound < other.bound : node->path > other.node->path;
    }
  };
  std::priority_queue<Entry> queue;
  queue.push({weight * root.best_score, 0, &root, false});
  while (!queue.empty()) {
    const Entry best = queue.top();
    queue.pop();
    if (best.is_closed) return best.node;
    std::vector<int32_t> path = before;
    path.insert(path.end(), best.node->path.begin(), best.node->path.end());
    const std::vector<float>& logits = cursor.move_to(path);
    const double start = best.log_probability - log_sum_exp(logits);
    if (best.node->id != nullptr) {
      const double closed = start + brackets.closing_logit(logits);
      queue.push({closed + weight * best.node->id->score, closed, best.node, true});
    }
    for (const auto& [token, child] : best.node->children) {
      const double longer = start + static_cast<double>(logits[static_cast<size_t>(token)]);
      queue.push({longer + weight * child->best_score, longer, child.get(), false});
    }
  }
  return nullptr;
}

}  // namespace

WrittenIds write_ids(model::Session& session, const text::PromptLayout& layout,
                     std::span<const float> logits, std::vector<IdCandidate> candidates,
                     const IdWriterOptions& options) {
  WrittenIds written;
  const Brackets brackets(layout.tokenizer());
  const auto logit = [](std::span<const float> all, int32_t token) {
    return all[static_cast<size_t>(token)];
  };
  const int32_t end_retrieval = layout.end_of_retrieve().front();
  if (options.may_end_retrieval &&
      (candidates.empty() || logit(logits, end_retrieval) > logit(logits, brackets.open))) {
    written.ends_retrieval = true;
    written.tokens = layout.end_of_retrieve();
    return written;
  }
  Cursor cursor(session, logits);
  if (!candidates.empty()) written.tokens.push_back(brackets.open);
  while (!candidates.empty()) {
    Node root;
    for (const IdCandidate& candidate : candidates) {
      insert(root, brackets.digits(layout.tokenizer(), candidate.id), candidate);
    }
    const Node* best = best_id(root, cursor, written.tokens, brackets, options.routing_weight);
    const int64_t id = best->id->id;
    written.tokens.insert(written.tokens.end(), best->path.begin(), best->path.end());
    written.ids.push_back(id);
    std::erase_if(candidates, [&](const IdCandidate& c) { return c.id == id; });
    const bool is_last =
        static_cast<int64_t>(written.ids.size()) >= options.max_ids || candidates.empty();
    if (!is_last && brackets.joint) {
      const std::vector<float>& next = cursor.move_to(written.tokens);
      if (logit(next, *brackets.joint) > logit(next, brackets.close)) {
        written.tokens.push_back(*brackets.joint);
        continue;
      }
    }
    written.tokens.push_back(brackets.close);
    if (is_last) break;
    const std::vector<float>& next = cursor.move_to(written.tokens);
    if (logit(next, brackets.open) <= logit(next, layout.ids_end_token())) break;
    written.tokens.push_back(brackets.open);
  }
  // The session holds all that is written but the closing token, which the next prompt brings.
  cursor.move_to(written.tokens);
  written.tokens.push_back(layout.ids_end_token());
  return written;
}

}  // namespace msa::engine
