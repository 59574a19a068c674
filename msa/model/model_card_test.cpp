#include "msa/model/model_card.h"

#include <gtest/gtest.h>

#include "msa/base/error.h"

namespace msa::model {
namespace {

ModelConfig config(bool has_memory) {
  Json json{{"model_type", "qwen3"},   {"num_hidden_layers", 4},     {"hidden_size", 1600},
            {"intermediate_size", 24}, {"num_attention_heads", 4},   {"num_key_value_heads", 2},
            {"head_dim", 8},           {"vocab_size", 8192},         {"rms_norm_eps", 1e-6},
            {"rope_theta", 5000000.0}, {"tie_word_embeddings", true}};
  if (has_memory) {
    json["msa_config"] = {
        {"router_layer_idx", "2,3"}, {"doc_top_k", 8}, {"pooling_kernel_size", 32}};
  }
  return parse_config(json, "test");
}

std::string card(std::string_view given, bool has_memory = true, bool is_fresh = false) {
  const ModelConfig shape = config(has_memory);
  return model_card(given, "card.md",
                    {.name = "small",
                     .config = shape,
                     .num_parameters = 16522368,
                     .types = "BF16",
                     .has_fresh_routers = is_fresh});
}

constexpr std::string_view kShape =
    "\n## Shape\n\n| | |\n|---|---|\n| parameters | 16,522,368 in BF16 |\n"
    "| layers | 4, hidden size 1,600, feed-forward 24 |\n"
    "| attention | 4 query heads, 2 key/value heads of 8, rope theta 5,000,000 |\n"
    "| vocabulary | 8,192, tied embeddings |\n";
constexpr std::string_view kMemory =
    "| router layers | 2, 3 |\n"
    "| memory | chunks of 32 tokens, the best 8 documents in each router layer |\n";

TEST(ModelCard, WithoutATextSaysWhatTheConfigSaysAndNoMore) {
  EXPECT_EQ(card("", false),
            "---\nlibrary_name: transformers\n---\n# small\n" + std::string(kShape));
  EXPECT_EQ(card(""), "---\nlibrary_name: msa\ntags:\n- memory-sparse-attention\n---\n# small\n" +
                          std::string(kShape) + std::string(kMemory));
  const std::string fresh = card("", true, true);
  EXPECT_NE(fresh.find("nothing has trained them yet"), std::string::npos) << fresh;
}

TEST(ModelCard, KeepsTheTextAndItsHeaderAsTheyAre) {
  const std::string header =
      "license: cc-by-sa-4.0\n# a remark\nlanguage: en\ndatasets:\n- squad\n  # deeper\n\n"
      "metrics:\n  - exact_match\ntags: [one, two]\nlibrary_name: other\n";
  const std::string body = "# Its own title\n\n## Quality\n\n| | |\n|---|---|\n| recall | 0.9 |\n";
  EXPECT_EQ(card("---\n" + header + "---\n\n" + body),
            "---\n" + header + "---\n" + body + std::string(kShape) + std::string(kMemory));
  EXPECT_EQ(card("---\r\nlicense: mit\r\n---\r\nText without a title\r\nof two lines", false),
            "---\nlicense: mit\nlibrary_name: transformers\n---\n# small\n\n"
            "Text without a title\nof two lines\n" +
                std::string(kShape));
}

TEST(ModelCard, ACardThatWasMadeBeforeStaysTheSame) {
  const std::string once = card("---\nlicense: mit\n---\n# Title\n");
  EXPECT_EQ(card(once), once);
}

TEST(ModelCard, AHeaderThatIsNoneIsRefusedWithItsLine) {
  for (const auto& [text, part] :
       {std::pair{"---\nlicense: mit\n# Title\n", "card.md: the header that begins in line 1"},
        {"---\nlicense: mit\nlicense: other\n---\n", "card.md line 3: the key \"license\" came"},
        {"---\nlicense: mit\nno key\n---\n", "card.md line 3: a line of the header must be"},
        {"---\n- an entry\n---\n", "card.md line 2"},
        {"---\n  deep: 1\n---\n", "card.md line 2"},
        {"---\nlicense:mit\n---\n", "card.md line 2"},
        {"---\nlicense: mit\n\tdeep: 1\n---\n", "card.md line 3"}}) {
    try {
      card(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace msa::model
