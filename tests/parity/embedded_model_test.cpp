// The embedded model against what another float32 implementation computed from the same weights.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "msa/base/test_paths.h"
#include "msa/engine/loaded_model.h"
#include "msa/memory/memory_source.h"
#include "msa/model/cpu_session.h"
#include "msa/text/answer_protocol.h"
#include "tests/parity/golden_set.h"

namespace msa::parity {
namespace {

constexpr double kSafeMargin = 0.01;  // below it another order of sums may choose the other token

class EmbeddedModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = source_folder() / "models/msa-tiny";
    model_ = engine::LoadedModel::load(real_file_system(),
                                       {.folder = folder_, .transformer = {}, .gpu = nullptr})
                 .release();
  }
  static void TearDownTestSuite() { delete model_; }

  static std::vector<Json> lines(const std::string& file, const std::string& kind = "") {
    auto all = GoldenSet(folder_).lines(file);
    if (!kind.empty())
      std::erase_if(all, [&](const Json& line) { return line.at("kind") != kind; });
    return all;
  }

  /// Greedy tokens from `logits` on, until one of `stops` or `count` tokens; all but the last are
  /// fed.
  static std::vector<int64_t> greedy(model::Session& session, std::span<const float> logits,
                                     size_t count, const std::vector<int32_t>& stops) {
    std::vector<int64_t> tokens;
    session.write(logits, [&](int32_t token) {
      tokens.push_back(token);
      return tokens.size() < count && std::ranges::find(stops, token) == stops.end();
    });
    return tokens;
  }

  static bool is_safe(const Json& line) { return line.at("margin").get<double>() > kSafeMargin; }

  static std::filesystem::path folder_;
  static engine::LoadedModel* model_;
};

std::filesystem::path EmbeddedModel::folder_;
engine::LoadedModel* EmbeddedModel::model_ = nullptr;

TEST_F(EmbeddedModel, ContinuesPlainPromptsExactly) {
  int64_t compared = 0;
  for (const Json& line : lines("golden.jsonl", "plain")) {
    const auto prompt = token_ids(line.at("prompt_tokens"));
    const auto encoded =
        model_->tokenizer().encode_with_special(line.at("prompt").get<std::string>());
    EXPECT_EQ(encoded, prompt);
    if (!is_safe(line)) continue;
    model::CpuSession session(model_->transformer(), {});
    const auto wanted = integers(line.at("output_tokens"));
    EXPECT_EQ(
        greedy(session, session.extend(prompt), wanted.size(), {model_->layout().end_token()}),
        wanted)
        << line.at("prompt");
    ++compared;
  }
  EXPECT_GE(compared, 20);
}

TEST_F(EmbeddedModel, ReadsAnAppendedTextExactly) {
  int64_t compared = 0;
  for (const Json& line : lines("golden.jsonl", "read_without_memory")) {
    const auto question = line.at("question").get<std::string>();
    const auto text = line.at("text").get<std::string>();
    const auto id = line.at("id").get<int64_t>();
    text::Prompt prompt = model_->layout().question(question);
    prompt.append(model_->layout().named_documents(std::span(&id, 1)));
    const text::AppendedText appended{id, text};
    prompt.append(model_->layout().appended_texts(std::span(&appended, 1)));
    prompt.append(model_->layout().answer_prompt(question));
    EXPECT_EQ(prompt.tokens, token_ids(line.at("tokens_after_head"))) << question;
    if (!is_safe(line)) continue;
    model::CpuSession session(model_->transformer(),
                              {.head = &model_->prompt_head(),
                               .memory = nullptr,
                               .first_position = model_->layout().question_start()});
    const auto wanted = integers(line.at("output_tokens"));
    EXPECT_EQ(greedy(session, session.extend(prompt.tokens), wanted.size(),
                     {model_->layout().end_token()}),
              wanted)
        << question;
    ++compared;
  }
  EXPECT_GE(compared, 20);
}

/// Documents and scores of a round; order only where neighbours differ by more than the file's
/// rounding.
void expect_routes(const Json& wanted, const model::RoutingResult& routing,
                   const std::vector<int64_t>& router_layers, const std::vector<int64_t>& ids,
                   const std::string& what) {
  for (size_t slot = 0; slot < router_layers.size(); ++slot) {
    const Json& list = wanted.at(std::to_string(router_layers[slot]));
    const auto& selected = routing.selected.at(slot);
    ASSERT_EQ(selected.size(), list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      const double score = list[i][1].get<double>();
      EXPECT_NEAR(selected[i].score, score, 3e-5)
          << what << " layer " << router_layers[slot] << " place " << i;
      const bool is_near_before = i > 0 && list[i - 1][1].get<double>() - score < 3e-5;
      const bool is_near_after = i + 1 < list.size() && score - list[i + 1][1].get<double>() < 3e-5;
      if (!is_near_before && !is_near_after) {
        EXPECT_EQ(ids[selected[i].document], list[i][0].get<int64_t>())
            << what << " layer " << router_layers[slot] << " place " << i;
      }
    }
  }
}

TEST_F(EmbeddedModel, AnswersFromAMemoryOf200DocumentsExactly) {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<int64_t> ids;
  std::map<int64_t, std::string> texts;
  for (const Json& line : lines("golden_memory.jsonl")) {
    ids.push_back(line.at("id").get<int64_t>());
    texts[ids.back()] = line.at("text").get<std::string>();
    tokens.push_back(model_->layout().document(ids.back(), texts[ids.back()]).tokens);
  }
  ASSERT_TRUE(std::ranges::is_sorted(ids));
  const memory::MemorySource memory(model_->config().memory_shape(),
                                    model_->transformer().encode_documents(tokens),
                                    kernels::NumberType::kFloat32);
  const auto& layout = model_->layout();
  const auto& router_layers = model_->config().msa.router_layers;
  int64_t compared = 0;
  for (const Json& line : lines("golden.jsonl", "memory")) {
    if (!is_safe(line)) continue;
    const auto question = line.at("question").get<std::string>();
    model::CpuSession session(model_->transformer(), {.head = &model_->prompt_head(),
                                                      .memory = &memory,
                                                      .first_position = layout.question_start()});
    text::Prompt prompt = layout.question(question);
    ASSERT_EQ(prompt.tokens, token_ids(line.at("prompt_tokens")));
    auto logits = session.prefill(prompt.tokens, routing_marks(prompt.roles));
    expect_routes(line.at("round1"), session.routing(), router_layers, ids, question + " round 1");
    const auto written = greedy(session, logits, 20, {layout.ids_end_token()});
    ASSERT_EQ(written, integers(line.at("ids_tokens"))) << question;

    const std::vector<int32_t> written_tokens(written.begin(), written.end());
    text::RetrievalRound naming(layout, model_->config().end_tokens);
    for (const int32_t token : written_tokens) naming.add(token);
    ASSERT_EQ(naming.state(), text::RoundState::kIdsFinished) << question;
    auto named = naming.ids();
    std::ranges::sort(named);
    for (const int32_t token : written_tokens) {
      prompt.tokens.push_back(token);
      prompt.roles.push_back(text::kResponseRole);
    }
    text::PromptLayout::settle(prompt.roles);
    std::vector<text::AppendedText> appended;
    for (const int64_t id : named) appended.push_back({id, texts.at(id)});
    prompt.append(layout.appended_texts(appended));
    const auto held = static_cast<size_t>(session.num_tokens());
    logits = session.prefill(std::span(prompt.tokens).subspan(held), routing_marks(prompt.roles));
    expect_routes(line.at("round2"), session.routing(), router_layers, ids, question + " round 2");
    // Either the retrieval ends or other ids follow.
    const auto said = line.at("round2_text").get<std::string>();
    const bool has_ended = said == "<End-of-Retrieve>";
    const auto end = greedy(session, logits, has_ended ? layout.end_of_retrieve().size() : 6,
                            {layout.ids_end_token()});
    const std::vector<int32_t> end_tokens(end.begin(), end.end());
    ASSERT_EQ(model_->tokenizer().decode(end_tokens), said);
    text::RetrievalRound ending(layout, model_->config().end_tokens);
    for (const int32_t token : end_tokens) ending.add(token);
    ASSERT_EQ(ending.state(),
              has_ended ? text::RoundState::kRetrievalEnded : text::RoundState::kIdsFinished)
        << question;
    session.extend(std::span(&end_tokens.back(), 1));
    logits = session.extend(layout.answer_prompt(question).tokens);
    EXPECT_EQ(greedy(session, logits, 40, {layout.end_token()}), integers(line.at("answer_tokens")))
        << question;
    ++compared;
  }
  EXPECT_GE(compared, 15);
}

}  // namespace
}  // namespace msa::parity
