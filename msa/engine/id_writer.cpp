#include "msa/engine/id_writer.h"

#include <algorithm>
#include <memory>
#include <queue>
#include <string>

#include "msa/base/error.h"
#include "msa/engine/sampler.h"

namespace msa::engine {
namespace {

/// A node of the trie of ids: the tokens that follow "[" up to and including "]".
struct Node {
  std::map<int32_t, std::unique_ptr<Node>> children;
  std::vector<int32_t> path;   // tokens from "[" (not included) to here
  double best_score = -1e300;  // of the ids below
  int64_t id = -1;             // where an id ends
};

void insert(Node& root, const std::vector<int32_t>& tokens, const IdCandidate& candidate) {
  Node* node = &root;
  node->best_score = std::max(node->best_score, candidate.score);
  for (const int32_t token : tokens) {
    auto& child = node->children[token];
    if (!child) {
      child = std::make_unique<Node>();
      child->path = node->path;
      child->path.push_back(token);
    }
    node = child.get();
    node->best_score = std::max(node->best_score, candidate.score);
  }
  node->id = candidate.id;
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

/// The best id below `root`, by best-first search. `before` are the tokens that the session must
/// hold first.
const Node* best_id(const Node& root, Cursor& cursor, const std::vector<int32_t>& before,
                    double weight) {
  struct Entry {
    double bound;
    double log_probability;
    const Node* node;
    bool operator<(const Entry& other) const {
      return bound != other.bound ? bound < other.bound : node->path > other.node->path;
    }
  };
  std::priority_queue<Entry> queue;
  queue.push({weight * root.best_score, 0, &root});
  while (!queue.empty()) {
    const Entry best = queue.top();
    queue.pop();
    if (best.node->id >= 0) return best.node;
    std::vector<int32_t> path = before;
    path.insert(path.end(), best.node->path.begin(), best.node->path.end());
    const std::vector<float>& logits = cursor.move_to(path);
    const double total = log_sum_exp(logits);
    for (const auto& [token, child] : best.node->children) {
      const double log_probability =
          best.log_probability + static_cast<double>(logits[static_cast<size_t>(token)]) - total;
      queue.push({log_probability + weight * child->best_score, log_probability, child.get()});
    }
  }
  return nullptr;
}

}  // namespace

WrittenIds write_ids(model::Session& session, const text::PromptLayout& layout,
                     std::span<const float> logits, std::vector<IdCandidate> candidates,
                     const IdWriterOptions& options) {
  WrittenIds written;
  const std::vector<int32_t> bracket = layout.tokenizer().encode("[");
  const int32_t open = bracket.front();
  const int32_t end_retrieval = layout.end_of_retrieve().front();
  if (options.may_end_retrieval &&
      (candidates.empty() ||
       logits[static_cast<size_t>(end_retrieval)] > logits[static_cast<size_t>(open)])) {
    written.ends_retrieval = true;
    written.tokens = layout.end_of_retrieve();
    return written;
  }
  Cursor cursor(session, logits);
  while (!candidates.empty()) {
    Node root;
    for (const IdCandidate& candidate : candidates) {
      auto tokens = layout.tokenizer().encode("[" + std::to_string(candidate.id) + "]");
      MSA_CHECK(tokens.size() >= 2 && tokens.front() == open,
                "the tokenizer joins the brackets of ids with their digits");
      insert(root, {tokens.begin() + 1, tokens.end()}, candidate);
    }
    written.tokens.push_back(open);
    const Node* best = best_id(root, cursor, written.tokens, options.routing_weight);
    written.tokens.insert(written.tokens.end(), best->path.begin(), best->path.end());
    written.ids.push_back(best->id);
    std::erase_if(candidates, [&](const IdCandidate& c) { return c.id == best->id; });
    if (static_cast<int64_t>(written.ids.size()) >= options.max_ids || candidates.empty()) break;
    const std::vector<float>& next = cursor.move_to(written.tokens);
    if (next[static_cast<size_t>(open)] <= next[static_cast<size_t>(layout.ids_end_token())]) break;
  }
  // The session holds all that is written but the closing token, which the next prompt brings.
  cursor.move_to(written.tokens);
  written.tokens.push_back(layout.ids_end_token());
  return written;
}

}  // namespace msa::engine
