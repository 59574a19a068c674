#pragma once
// What the engine says about a question: answer, documents, evidence, trace. Plain data.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace msa::engine {

/// How the ids of documents are written in a retrieval round.
enum class IdDecoding {
  kFused,        // among routed ids: log-probability of the id + weight * routing score
  kConstrained,  // among routed ids: log-probability alone
  kFree,         // whatever the model writes; ids that do not exist are dropped
};

/// Every call with equal options, bank and question gives equal bytes.
struct AskOptions {
  IdDecoding ids = IdDecoding::kFused;
  double routing_weight = 100;               // weight of the routing score in kFused
  int64_t max_rounds = 6;                    // retrieval rounds, >= 1
  int64_t max_documents_per_round = 2;       // ids written in one round, >= 1
  int64_t max_answer_tokens = 64;            // >= 1
  int64_t num_documents = 16;                // entries of Answer::documents at most
  double temperature = 0;                    // 0 = greedy; answers only, ids are never sampled
  double top_p = 1;                          // (0, 1]
  uint64_t seed = 0;                         // of the sampler
  double decline_from = 0;                   // [0, 1]: "I do not know." less probable is not said
  std::vector<int64_t> given_passages = {};  // if any, these are read in place of retrieving
};

/// A passage of the bank with its routing score: mean over router layers of the first round's
/// scores.
struct ScoredPassage {
  int64_t id = 0;    // what the model writes
  std::string name;  // of the document: its id in the jsonl, or its path
  float score = 0;   // cosine in [-1, 1] where the model normalises
};

/// Where an answer comes from. `quote` is bytes [start, end) of the document's stored text.
struct Evidence {
  int64_t id = 0;  // passage
  std::string name;
  int64_t start = 0;
  int64_t end = 0;
  std::string quote;
};

/// One retrieval round as it happened.
struct Round {
  struct Layer {
    int64_t layer = 0;                                // layer of the model
    std::vector<std::pair<int64_t, float>> passages;  // id and score, best first
  };
  std::vector<Layer> routed;
  std::string written;            // what the model wrote, special tokens as text
  std::vector<int64_t> ids;       // passages named, in the order written
  std::vector<int64_t> appended;  // those of them not read before, without repeats, rising
  int64_t prompt_tokens =
      0;  // tokens read in this round, counting those reused from the one before
  int64_t reused_tokens = 0;  // of these, tokens whose lower layers were reused
  int64_t written_tokens = 0;
  double route_ms = 0;  // routing and fetching, all layers
  double total_ms = 0;
};

struct Usage {
  int64_t prompt_tokens = 0;      // prompt head and question, appended texts, answer prompt
  int64_t completion_tokens = 0;  // written by the model
  int64_t rounds = 0;
};

struct Timing {
  double prefill_ms = 0;  // prompts, including routing
  double route_ms = 0;
  double write_ms = 0;  // ids and answer
  double total_ms = 0;
};

struct Answer {
  std::string question;
  std::string answer;                    // without the protocol's frame
  std::vector<ScoredPassage> documents;  // named ones first in the order written, then by score
  std::vector<ScoredPassage> routed;     // by falling score alone, as many at most
  std::vector<Evidence> evidence;  // one for each passage read; the one that holds the answer first
  bool is_declined = false;        // the model says that it does not know: nothing is evidence
  std::optional<double> decline_probability;  // if it chose to, also where another answer was said
  std::vector<Round> rounds;
  Usage usage;
  Timing timing;
  bool is_truncated = false;  // max_answer_tokens was reached
};

/// Retrieval without writing: every router layer's choice, and their mean.
struct RouteResult {
  std::string question;
  std::vector<ScoredPassage> documents;  // by falling mean score
  std::vector<Round::Layer> layers;
  Timing timing;
};

}  // namespace msa::engine
