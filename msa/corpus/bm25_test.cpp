#include "msa/corpus/bm25.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"

namespace msa::corpus {
namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

/// The formula as it stands, word by word of the query, with no index. Words are split at spaces.
std::vector<double> direct_scores(const std::vector<std::string>& texts, const std::string& query) {
  std::vector<std::vector<std::string>> documents;
  double total = 0;
  for (const std::string& text : texts) {
    documents.push_back(split(text));
    total += static_cast<double>(documents.back().size());
  }
  const auto n_all = static_cast<double>(texts.size());
  const double mean = total / n_all;
  std::vector<double> scores(texts.size(), 0.0);
  for (const std::string& word : split(query)) {  // repeats add up to query_tf
    double n = 0;
    for (const auto& document : documents) {
      n += std::count(document.begin(), document.end(), word) > 0 ? 1 : 0;
    }
    const double idf = std::log(1 + (n_all - n + 0.5) / (n + 0.5));
    for (size_t i = 0; i < documents.size(); ++i) {
      const auto tf =
          static_cast<double>(std::count(documents[i].begin(), documents[i].end(), word));
      const auto length = static_cast<double>(documents[i].size());
      scores[i] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / mean));
    }
  }
  return scores;
}

TEST(Bm25, ScoresTheExampleAsComputedByHand) {
  Bm25 index;
  index.add("red fox");             // length 2
  index.add("Red red, blue sky!");  // length 4
  index.add("green");               // length 1; the mean is 7 / 3
  index.finish();
  const auto found = index.search("RED", 10);
  ASSERT_EQ(found.size(), 2U);
  // idf = ln(1 + 1.5 / 2.5) = ln 1.6 = 0.4700036
  // document 1: 0.4700036 * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 12 / 7)) = 2.0680160 / 3.8428571
  // document 0: 0.4700036 * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 6 / 7)) = 1.0340080 / 2.0714286
  EXPECT_EQ(found[0].document, 1);
  EXPECT_NEAR(found[0].score, 0.5381455, 1e-6);
  EXPECT_EQ(found[1].document, 0);
  EXPECT_NEAR(found[1].score, 0.4991763, 1e-6);
}

/// Scores by the same formula in Python: Counter(re.findall(r"\w+", text.lower())), math.log.
TEST(Bm25, GivesTheScoresOfThePythonFormula) {
  Bm25 index;
  for (const char* text : {
           "The Rhine A river of Europe; the Rhine flows north. It is 1,233 km long.",
           "Danube: the river Danube flows east, past Vienna, Bratislava & Budapest.",
           "\xC3\x89tudes \xE2\x80\x94 \xC3\xA9tude n\xC2\xBA 3 by Chopin (op. 10)",
           "snake_case don't river",
           "",
           "river river river Rhine long long long bank",
       }) {
    index.add(text);
  }
  index.finish();
  const auto expect_scores = [&](const char* query,
                                 const std::vector<std::pair<int64_t, double>>& wanted) {
    const auto found = index.search(query, 6);
    ASSERT_EQ(found.size(), wanted.size()) << query;
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ(found[i].document, wanted[i].first) << query;
      EXPECT_NEAR(found[i].score, wanted[i].second, 1e-11) << query;
    }
  };
  expect_scores(
      "How long is the river Rhine?",
      {{0, 4.253364726224}, {5, 3.302563907364}, {1, 1.308532157727}, {3, 0.549305583914}});
  expect_scores(
      "river river Danube",
      {{1, 2.736927417044}, {5, 1.375799216327}, {3, 1.098611167829}, {0, 0.611675438176}});
  expect_scores("\xC3\x89TUDE 3 by whom", {{2, 4.540573926520}});
}

TEST(Bm25, AgreesWithTheDirectFormulaOnRandomTexts) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return random() % n; };
    const uint32_t vocabulary = 2 + below(30);
    const auto random_text = [&](uint32_t max_words) {
      std::string text;
      for (uint32_t n = below(max_words + 1); n > 0; --n) {
        text += "w" + std::to_string(below(1 + below(vocabulary))) + " ";  // small numbers frequent
      }
      return text;
    };
    std::vector<std::string> texts(1 + below(50));
    for (std::string& text : texts) text = random_text(20);
    texts.push_back("w0");  // the direct formula needs one word
    Bm25 index;
    for (const std::string& text : texts) index.add(text);
    index.finish();
    for (int q = 0; q < 10; ++q) {
      const std::string query = random_text(6);
      const auto expected = direct_scores(texts, query);
      const auto num_holding =
          std::count_if(expected.begin(), expected.end(), [](double s) { return s > 0; });
      const auto all = index.search(query, 1000);
      ASSERT_EQ(static_cast<int64_t>(all.size()), num_holding) << query;
      std::vector<bool> seen(texts.size(), false);
      for (size_t i = 0; i < all.size(); ++i) {
        const auto document = static_cast<size_t>(all[i].document);
        EXPECT_FALSE(seen[document]);
        seen[document] = true;
        EXPECT_NEAR(all[i].score, expected[document], 1e-12);
        if (i == 0) continue;
        EXPECT_GE(all[i - 1].score, all[i].score);
        if (all[i - 1].score == all[i].score) {
          EXPECT_LT(all[i - 1].document, all[i].document);
        }
      }
      const auto top = index.search(query, 3);
      ASSERT_EQ(top.size(), std::min<size_t>(3, all.size()));
      for (size_t i = 0; i < top.size(); ++i) EXPECT_EQ(top[i].document, all[i].document);
    }
  }
}

TEST(Bm25, TiesGoToTheEarlierDocument) {
  Bm25 index;
  for (int i = 0; i < 50; ++i) index.add(i % 2 == 0 ? "same words" : "other text");
  index.finish();
  const auto found = index.search("words", 5);
  ASSERT_EQ(found.size(), 5U);
  for (int64_t i = 0; i < 5; ++i) EXPECT_EQ(found[static_cast<size_t>(i)].document, 2 * i);
}

TEST(Bm25, FindsWordsRegardlessOfCaseBeyondAscii) {
  Bm25 index;
  index.add("\xC3\x89TUDE");  // E with acute
  index.add("etude");
  index.finish();
  const auto found = index.search("\xC3\xA9tude", 5);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].document, 0);
}

TEST(Bm25, ReturnsNothingWhereNoWordIsKnown) {
  Bm25 empty;
  empty.finish();
  EXPECT_TRUE(empty.search("word", 5).empty());
  Bm25 index;
  index.add("");
  index.add("...");
  index.finish();
  EXPECT_EQ(index.size(), 2);
  EXPECT_TRUE(index.search("word", 5).empty());
  EXPECT_TRUE(index.search("", 5).empty());
}

TEST(Bm25, RefusesCallsOutOfOrder) {
  Bm25 index;
  index.add("word");
  EXPECT_THROW(index.search("word", 1), Error);
  index.finish();
  EXPECT_THROW(index.add("word"), Error);
  EXPECT_THROW(index.finish(), Error);
  EXPECT_THROW(index.search("word", -1), Error);
  EXPECT_TRUE(index.search("word", 0).empty());
}

}  // namespace
}  // namespace msa::corpus
