#include "msa/engine/id_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "msa/base/test_paths.h"
#include "msa/engine/sampler.h"
#include "msa/model/cpu_session.h"

namespace msa::engine {
namespace {

/// A character of the files' spelling of a byte.
std::string spelled(int byte) {
  const auto is_printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  int code = byte;
  if (!is_printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += is_printable(b) ? 0 : 1;
  }
  if (code < 128) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

/// A tokenizer of single bytes, with or without a token for "][".
std::unique_ptr<text::Tokenizer> byte_tokenizer(bool has_joint) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("id_writer_test." + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  nlohmann::json vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary[spelled(byte)] = byte;
  vocabulary[has_joint ? "][" : "unmerged"] = 256;
  std::ofstream(folder / "vocab.json") << vocabulary;
  std::ofstream(folder / "merges.txt") << (has_joint ? "#version: 0.2\n] [\n" : "#version: 0.2\n");
  std::ofstream(folder / "added_tokens.json")
      << nlohmann::json{{"<|im_start|>", 257}, {"<|im_end|>", 258}, {"<|object_ref_end|>", 259}};
  auto tokenizer = text::Tokenizer::load(real_file_system(), folder);
  std::filesystem::remove_all(folder);
  return tokenizer;
}

class IdWriter : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    transformer_ = model::Transformer::load(real_file_system(),
                                            source_folder() / "tests/data/golden/tiny-msa", {})
                       .release();
  }
  static void TearDownTestSuite() { delete transformer_; }

  void SetUp() override {
    tokenizer_ = byte_tokenizer(GetParam());
    layout_ = std::make_unique<text::PromptLayout>(*tokenizer_, 1);
    open_ = tokenizer_->encode("[").front();
    close_ = tokenizer_->encode("]").front();
    if (GetParam()) joint_ = tokenizer_->encode("][").front();
  }

  /// Logits behind `tokens`, computed anew.
  std::vector<float> logits_behind(const std::vector<int32_t>& tokens) const {
    model::CpuSession session(*transformer_, {});
    const auto logits = session.extend(tokens);
    return {logits.begin(), logits.end()};
  }

  /// What the contract says, by trying every candidate on a session of its own.
  WrittenIds reference(std::vector<int32_t> held, std::vector<IdCandidate> candidates,
                       const IdWriterOptions& options) const {
    WrittenIds written;
    const auto write = [&](int32_t token) {
      written.tokens.push_back(token);
      held.push_back(token);
    };
    bool is_open = false;
    while (true) {
      if (!is_open) write(open_);
      double best_value = -std::numeric_limits<double>::infinity();
      IdCandidate best;
      for (const IdCandidate& candidate : candidates) {
        std::vector<int32_t> tokens = held;
        double log_probability = 0;
        for (const char digit : std::to_string(candidate.id)) {
          const auto logits = logits_behind(tokens);
          log_probability += logits[static_cast<uint8_t>(digit)] - log_sum_exp(logits);
          tokens.push_back(static_cast<uint8_t>(digit));
        }
        const auto logits = logits_behind(tokens);
        double closing = std::exp(logits[close_] - log_sum_exp(logits));
        if (joint_) closing += std::exp(logits[*joint_] - log_sum_exp(logits));
        const double value =
            log_probability + std::log(closing) + options.routing_weight * candidate.score;
        if (value > best_value) {
          best_value = value;
          best = candidate;
        }
      }
      written.ids.push_back(best.id);
      std::erase_if(candidates, [&](const IdCandidate& c) { return c.id == best.id; });
      for (const char digit : std::to_string(best.id)) write(static_cast<uint8_t>(digit));
      const bool is_last =
          candidates.empty() || static_cast<int64_t>(written.ids.size()) == options.max_ids;
      const auto logits = logits_behind(held);
      is_open = !is_last && joint_ && logits[*joint_] > logits[close_];
      write(is_open ? *joint_ : close_);
      if (is_open) continue;
      const auto next = logits_behind(held);
      if (is_last || next[open_] <= next[layout_->ids_end_token()]) break;
    }
    written.tokens.push_back(layout_->ids_end_token());
    return written;
  }

  static model::Transformer* transformer_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::unique_ptr<text::PromptLayout> layout_;
  int32_t open_ = 0;
  int32_t close_ = 0;
  std::optional<int32_t> joint_;
};

model::Transformer* IdWriter::transformer_ = nullptr;

TEST_P(IdWriter, WritesWhatTryingEveryCandidateFinds) {
  int num_joint = 0;
  int num_apart = 0;
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    std::vector<int32_t> prompt(3 + random() % 20);
    for (int32_t& token : prompt) token = static_cast<int32_t>(random() % 800);
    std::vector<IdCandidate> candidates;
    for (const int64_t id : {1, 7, 12, 123, 70, 5, 99, 1234567}) {
      candidates.push_back({id, static_cast<double>(random() % 1000) / 1000});
    }
    const IdWriterOptions options{.routing_weight = seed % 3 * 2.0,
                                  .max_ids = 1 + static_cast<int64_t>(random() % 5)};
    model::CpuSession session(*transformer_, {});
    const auto logits = session.extend(prompt);
    const auto wanted = reference(prompt, candidates, options);
    const auto got = write_ids(session, *layout_, logits, candidates, options);
    EXPECT_EQ(got.ids, wanted.ids) << "seed " << seed;
    EXPECT_EQ(got.tokens, wanted.tokens) << "seed " << seed;
    EXPECT_FALSE(got.ends_retrieval);
    // All but the closing token has been fed.
    EXPECT_EQ(session.num_tokens(), static_cast<int64_t>(prompt.size() + got.tokens.size()) - 1);
    for (size_t i = 1; i < got.tokens.size(); ++i) {
      if (joint_ && got.tokens[i] == *joint_) ++num_joint;
      if (got.tokens[i - 1] == close_ && got.tokens[i] == open_) ++num_apart;
    }
  }
  // The prompts lead to every way of going on.
  EXPECT_EQ(num_joint > 0, joint_.has_value());
  EXPECT_GT(num_apart, 0);
}

TEST_P(IdWriter, WithoutCandidatesRetrievalEnds) {
  const std::vector<int32_t> prompt{1, 2, 3};
  model::CpuSession session(*transformer_, {});
  const auto logits = session.extend(prompt);
  const auto written = write_ids(session, *layout_, logits, {}, {.may_end_retrieval = true});
  EXPECT_TRUE(written.ends_retrieval);
  EXPECT_TRUE(written.ids.empty());
  EXPECT_EQ(tokenizer_->decode(written.tokens), text::kEndOfRetrieve);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, IdWriter, testing::Bool(), [](const auto& info) {
  return info.param ? "with_a_joint_token" : "with_brackets_apart";
});

}  // namespace
}  // namespace msa::engine
