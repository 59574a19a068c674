#include "msa/text/answer_protocol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"

namespace msa::text {
namespace {

using Ids = std::vector<int64_t>;
using Tokens = std::vector<int32_t>;

const Tokenizer& tokenizer() {
  static const auto loaded =
      Tokenizer::load(real_file_system(), source_folder() / "models/msa-tiny");
  return *loaded;
}

const PromptLayout& layout() {
  static const PromptLayout made(tokenizer(), 4);
  return made;
}

const std::vector<int64_t>& end_tokens() {
  static const std::vector<int64_t> ends{*tokenizer().special_id("<|endoftext|>")};
  return ends;
}

RetrievalRound round_of(const Tokens& tokens, const RoundLimits& limits = {}) {
  RetrievalRound round(layout(), end_tokens(), limits);
  for (const int32_t token : tokens) round.add(token);
  return round;
}

/// Special tokens stand for themselves.
RetrievalRound round_of(const std::string& text, const RoundLimits& limits = {}) {
  return round_of(tokenizer().encode_with_special(text), limits);
}

/// The id of the token that has just these bytes and is plain text.
std::optional<int32_t> text_token(const std::string& bytes) {
  for (int32_t id = 0; id < tokenizer().vocab_size(); ++id) {
    if (tokenizer().token_bytes(id) == bytes && !tokenizer().is_special(id)) return id;
  }
  return std::nullopt;
}

/// One token for each byte.
Tokens byte_tokens(const std::string& text) {
  Tokens tokens;
  for (const char byte : text) tokens.push_back(text_token(std::string(1, byte)).value());
  return tokens;
}

void expect_round(const RetrievalRound& round, RoundState state, const Ids& ids,
                  const std::string& what) {
  EXPECT_EQ(round.state(), state) << what;
  EXPECT_EQ(round.ids(), ids) << what;
}

TEST(RetrievalRound, TellsAfterEveryTokenWhetherItGoesOn) {
  RetrievalRound round(layout(), end_tokens());
  const Tokens tokens = tokenizer().encode_with_special("[12][7]<|object_ref_end|>");
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    EXPECT_EQ(round.add(tokens[i]), RoundState::kGoesOn) << i;
  }
  EXPECT_EQ(round.add(tokens.back()), RoundState::kIdsFinished);
  EXPECT_EQ(round.ids(), (Ids{12, 7}));
}

TEST(RetrievalRound, KeepsTheOrderWrittenAndDropsRepeats) {
  expect_round(round_of("[9][4][9]<|object_ref_end|>"), RoundState::kIdsFinished, {9, 4}, "9 4 9");
  expect_round(round_of("[0]<|object_ref_end|>"), RoundState::kIdsFinished, {0}, "zero");
  expect_round(round_of("[007][7]<|object_ref_end|>"), RoundState::kIdsFinished, {7}, "zeros");
  expect_round(round_of("<|object_ref_end|>"), RoundState::kIdsFinished, {}, "no id");
  expect_round(round_of("[9][4"), RoundState::kGoesOn, {9}, "not over");
}

TEST(RetrievalRound, ReadsEndOfRetrieveInAnyTokens) {
  expect_round(round_of(layout().end_of_retrieve()), RoundState::kRetrievalEnded, {}, "encoded");
  expect_round(round_of(byte_tokens("<End-of-Retrieve>")), RoundState::kRetrievalEnded, {},
               "one byte a token");
  expect_round(round_of("[7]<End-of-Retrieve>"), RoundState::kRetrievalEnded, {7}, "behind an id");
  const std::string text(kEndOfRetrieve);
  std::mt19937 random(41);
  std::set<Tokens> ways;
  for (int round = 0; round < 500; ++round) {
    Tokens tokens;
    for (size_t i = 0; i < text.size();) {
      std::vector<int32_t> fitting;
      for (size_t length = 1; length <= 8 && i + length <= text.size(); ++length) {
        if (const auto token = text_token(text.substr(i, length))) fitting.push_back(*token);
      }
      tokens.push_back(fitting[random() % fitting.size()]);
      i += tokenizer().token_bytes(tokens.back()).size();
    }
    if (!ways.insert(tokens).second || ways.size() > 40) continue;
    RetrievalRound read(layout(), end_tokens());
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(read.add(tokens[i]),
                i + 1 < tokens.size() ? RoundState::kGoesOn : RoundState::kRetrievalEnded);
    }
  }
  EXPECT_GE(ways.size(), 10U);
}

TEST(RetrievalRound, ResponseEndsFinishIdsOrRetrieval) {
  for (const char* end : {"<|im_end|>", "<|endoftext|>"}) {
    expect_round(round_of(std::string("[7]") + end), RoundState::kIdsFinished, {7}, end);
    expect_round(round_of(end), RoundState::kRetrievalEnded, {}, end);
    expect_round(round_of(std::string("[7][1") + end), RoundState::kInvalid, {7}, end);
    expect_round(round_of(std::string("<End-of") + end), RoundState::kInvalid, {}, end);
  }
}

TEST(RetrievalRound, WhatFollowsNoRuleIsInvalidAndKeepsTheIdsBefore) {
  for (const char* text :
       {"x", " ", "7", "]", "[]", "[x]", "[-3]", "[12 ]", "[ 1]", "[[7]]", "<", "<E",
        "<End-of-retrieve>", "<End-of-Retrieve<|object_ref_end|>", "<|im_start|>",
        "<|object_ref_start|>", "[<|object_ref_end|>", "[1<|object_ref_end|>", "\xC3\xA9"}) {
    const bool is_prefix = std::string("<End-of-Retrieve>").starts_with(text);
    const RoundState wanted = is_prefix ? RoundState::kGoesOn : RoundState::kInvalid;
    expect_round(round_of(text), wanted, {}, text);
    expect_round(round_of(std::string("[5]") + text), wanted, {5}, text);
  }
  for (const int32_t token :
       {-1, INT32_MIN, INT32_MAX, static_cast<int32_t>(tokenizer().vocab_size())}) {
    expect_round(round_of(Tokens{token}), RoundState::kInvalid, {}, std::to_string(token));
  }
}

TEST(RetrievalRound, TextThatSpellsASpecialTokenIsNoSpecialToken) {
  for (const char* content : {"<|object_ref_end|>", "<|im_end|>", "<|endoftext|>"}) {
    expect_round(round_of(tokenizer().encode(content)), RoundState::kInvalid, {}, content);
    expect_round(round_of(byte_tokens(content)), RoundState::kInvalid, {}, content);
    expect_round(round_of(tokenizer().encode(std::string("[7]") + content)), RoundState::kInvalid,
                 {7}, content);
  }
}

TEST(RetrievalRound, IdsHaveAtMost18Digits) {
  expect_round(round_of("[" + std::string(18, '9') + "]<|object_ref_end|>"),
               RoundState::kIdsFinished, {999'999'999'999'999'999}, "18");
  expect_round(round_of("[" + std::string(19, '9') + "]"), RoundState::kInvalid, {}, "19");
  expect_round(round_of("[" + std::string(19, '0') + "]"), RoundState::kInvalid, {}, "19 zeros");
}

TEST(RetrievalRound, StopsAtItsLimits) {
  const RoundLimits two{.max_tokens = 64, .max_ids = 2};
  expect_round(round_of("[1][2][1]<|object_ref_end|>", two), RoundState::kIdsFinished, {1, 2},
               "two");
  expect_round(round_of("[1][2][3]<|object_ref_end|>", two), RoundState::kInvalid, {1, 2}, "three");
  const RoundLimits four{.max_tokens = 4, .max_ids = 2};
  expect_round(round_of("[1]<|object_ref_end|>", four), RoundState::kIdsFinished, {1}, "in time");
  expect_round(round_of("[1][", four), RoundState::kInvalid, {1}, "too late");
  RetrievalRound round(layout(), end_tokens());
  const Tokens repeat = tokenizer().encode("[1]");
  int64_t read = 0;
  while (round.add(repeat[static_cast<size_t>(read++ % 3)]) == RoundState::kGoesOn) {
  }
  EXPECT_EQ(read, 64);
  EXPECT_THROW(RetrievalRound(layout(), end_tokens(), {.max_tokens = 0, .max_ids = 1}), Error);
  EXPECT_THROW(RetrievalRound(layout(), end_tokens(), {.max_tokens = 1, .max_ids = -1}), Error);
}

TEST(RetrievalRound, AnEndedRoundStaysAsItIs) {
  for (const char* text : {"[7]<|object_ref_end|>", "<End-of-Retrieve>", "[7]x"}) {
    RetrievalRound round = round_of(text);
    const RoundState state = round.state();
    const Ids ids = round.ids();
    for (int32_t token = -3; token < tokenizer().vocab_size(); ++token) {
      ASSERT_EQ(round.add(token), state);
    }
    EXPECT_EQ(round.ids(), ids);
  }
}

/// The rules read from the whole text in another way: special tokens stand as bytes that no text
/// token of the test has.
RoundState judged(const Tokens& tokens, Ids& ids) {
  std::string text;
  for (const int32_t token : tokens) {
    if (token == layout().ids_end_token()) {
      text += '\1';
    } else if (ends_response(layout(), end_tokens(), token)) {
      text += '\2';
    } else if (tokenizer().is_special(token) || tokenizer().token_bytes(token).empty()) {
      text += '\3';
    } else {
      text += tokenizer().token_bytes(token);
    }
  }
  const std::string end(kEndOfRetrieve);
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\1') return RoundState::kIdsFinished;
    if (text[i] == '\2')
      return ids.empty() ? RoundState::kRetrievalEnded : RoundState::kIdsFinished;
    const std::string rest = text.substr(i);
    if (rest.starts_with(end)) return RoundState::kRetrievalEnded;
    if (end.starts_with(rest)) return RoundState::kGoesOn;
    if (text[i] != '[') return RoundState::kInvalid;
    size_t last = i + 1;
    while (last < text.size() && text[last] >= '0' && text[last] <= '9') ++last;
    const size_t num_digits = last - i - 1;
    if (num_digits > 18) return RoundState::kInvalid;
    if (last == text.size()) return RoundState::kGoesOn;
    if (text[last] != ']' || num_digits == 0) return RoundState::kInvalid;
    const int64_t id = std::stoll(text.substr(i + 1, num_digits));
    if (std::ranges::find(ids, id) == ids.end()) {
      if (ids.size() == 3) return RoundState::kInvalid;
      ids.push_back(id);
    }
    i = last + 1;
  }
  return RoundState::kGoesOn;
}

TEST(RetrievalRound, RandomTokensAreReadAsTheRulesSay) {
  std::vector<Tokens> pieces{layout().end_of_retrieve(),
                             {layout().ids_end_token()},
                             {layout().end_token()},
                             {layout().start_token()},
                             {-1},
                             byte_tokens("<End-of-")};
  for (const char* text : {"[", "]", "0", "1", "7", "[12]", "[12]", "[3]", "[45]", "[999999999]"}) {
    pieces.push_back(tokenizer().encode(text));
  }
  std::mt19937 random(43);
  std::map<RoundState, int> seen;
  for (int n = 0; n < 50'000; ++n) {
    Tokens tokens;
    const uint32_t length = random() % 12;
    for (uint32_t i = 0; i < length; ++i) {
      const uint32_t kind = random() % 24;
      const Tokens any{
          static_cast<int32_t>(random() % static_cast<uint32_t>(tokenizer().vocab_size()))};
      const Tokens& piece = kind == 0   ? any
                            : kind < 12 ? pieces[pieces.size() - 1 - random() % 10]
                                        : pieces[random() % pieces.size()];
      tokens.insert(tokens.end(), piece.begin(), piece.end());
    }
    RetrievalRound round(layout(), end_tokens(), {.max_tokens = 1000, .max_ids = 3});
    Tokens read;
    for (const int32_t token : tokens) {
      read.push_back(token);
      const RoundState state = round.add(token);
      Ids ids;
      ASSERT_EQ(state, judged(read, ids)) << tokenizer().decode(read);
      ASSERT_EQ(round.ids(), ids) << tokenizer().decode(read);
      if (state != RoundState::kGoesOn) break;
    }
    ++seen[round.state()];
  }
  EXPECT_EQ(seen.size(), 4U);
  for (const auto& [state, count] : seen) EXPECT_GT(count, 300) << static_cast<int>(state);
}

TEST(RetrievalRound, RandomNumbersNeverFailAndNeverHoldMoreThanTheLimits) {
  std::mt19937 random(47);
  for (int n = 0; n < 20'000; ++n) {
    RetrievalRound round(layout(), end_tokens(), {.max_tokens = 16, .max_ids = 2});
    int64_t read = 0;
    do {
      round.add(static_cast<int32_t>(random()) >> (random() % 32));
      ++read;
    } while (round.state() == RoundState::kGoesOn);
    ASSERT_LE(read, 16);
    ASSERT_LE(round.ids().size(), 2U);
  }
}

}  // namespace
}  // namespace msa::text
