#include "msa/samples/token_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/samples/corpus_fixture.h"

namespace msa::samples {
namespace {

using testing::HasSubstr;

struct Stored {
  std::string name;
  std::string title;
  std::string text;
  FrameTokens frames;
};

std::vector<int32_t> joined(const FrameTokens& frames, Title title, Frame frame) {
  std::vector<int32_t> tokens = frames.head(title);
  tokens.insert(tokens.end(), frames.body.begin(), frames.body.end());
  const auto& tail = frames.tail(title, frame);
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  return tokens;
}

class TokenStoreTest : public testing::Test {
 protected:
  static constexpr storage::Digest kKey{std::byte{1}, std::byte{2}};

  std::vector<int32_t> tokens(int64_t max_count, int64_t vocab_size) {
    std::vector<int32_t> some(
        std::uniform_int_distribution<size_t>(0, static_cast<size_t>(max_count))(random_));
    for (int32_t& token : some) {
      token =
          std::uniform_int_distribution<int32_t>(0, static_cast<int32_t>(vocab_size - 1))(random_);
    }
    return some;
  }

  /// Passages of all forms: with or without common parts, with titles that change nothing.
  std::vector<Stored> random_passages(int64_t count, int64_t vocab_size) {
    std::vector<Stored> all;
    for (int64_t n = 0; n < count; ++n) {
      Stored one{.name = "document-" + std::to_string(n / 2),
                 .title = n % 3 == 0 ? "" : "title " + std::to_string(n),
                 .text = "text of number " + std::to_string(n % 5),
                 .frames = {}};
      for (auto& head : one.frames.heads) head = tokens(4, vocab_size);
      if (n % 3 == 0) one.frames.heads[1] = one.frames.heads[0];
      one.frames.body = tokens(30, vocab_size);
      for (auto& tails : one.frames.tails) {
        for (auto& tail : tails) {
          tail = tokens(4, vocab_size);
          tail.push_back(7);  // as in true frames, none is empty
        }
      }
      if (one.frames.heads[1].empty()) one.frames.heads[1] = one.frames.heads[0];
      if (n % 2 == 0) one.frames.tails[1] = one.frames.tails[0];
      all.push_back(one);
    }
    return all;
  }

  void write(const std::vector<Stored>& passages, int64_t vocab_size) const {
    TokenStoreWriter writer(vocab_size);
    for (const Stored& one : passages) writer.add(one.name, one.title, one.text, one.frames);
    EXPECT_EQ(writer.size(), std::ssize(passages));
    writer.write(real_file_system(), path_, kKey);
  }

  void expect(const std::vector<Stored>& passages, const TokenStore& store) {
    ASSERT_EQ(store.size(), std::ssize(passages));
    for (int64_t n = 0; n < store.size(); ++n) {
      const Stored& one = passages[static_cast<size_t>(n)];
      EXPECT_EQ(store.name(n), one.name);
      EXPECT_EQ(store.title(n), one.title);
      EXPECT_EQ(store.text(n), one.text);
      for (const auto title : {Title::kShown, Title::kHidden}) {
        for (const auto frame : {Frame::kDocument, Frame::kAppended}) {
          std::vector<int32_t> tokens{5};
          store.append(n, title, frame, tokens);
          std::vector<int32_t> wanted{5};
          for (const int32_t token : joined(one.frames, title, frame)) wanted.push_back(token);
          EXPECT_EQ(tokens, wanted) << n;
          EXPECT_EQ(store.num_tokens(n, title, frame), std::ssize(wanted) - 1);
        }
      }
    }
  }

  void expect_refused(const storage::Digest& key, const std::string& why) const {
    try {
      TokenStore::open(real_file_system(), path_, key);
      FAIL() << "not refused: " << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption) << why;
      EXPECT_THAT(error.what(), HasSubstr(path_.string()));
    }
  }

  ScratchFolder folder_{"token_store_test"};
  std::filesystem::path path_ = folder_.path() / "some.tokens";
  std::mt19937_64 random_{100};
};

TEST_F(TokenStoreTest, GivesBackWhatWasAddedInTokensOfTwoOrFourBytes) {
  uint64_t small = 0;
  for (const int64_t vocab_size : {8192, 65536, 65537, 1 << 20}) {
    const auto passages = random_passages(200, vocab_size);
    write(passages, vocab_size);
    const auto store = TokenStore::open(real_file_system(), path_, kKey);
    expect(passages, *store);
    EXPECT_EQ(store->num_bytes(), std::filesystem::file_size(path_));
    if (vocab_size == 65536) small = store->num_bytes();
  }
  EXPECT_GT(std::filesystem::file_size(path_), small + 5000);
}

TEST_F(TokenStoreTest, ReadsTheSameWhereTheFileIsNotMapped) {
  const auto passages = random_passages(50, 8192);
  write(passages, 8192);
  ObservedFileSystem observed([](std::string_view, const std::filesystem::path&) {});
  expect(passages, *TokenStore::open(observed, path_, kKey));
}

TEST_F(TokenStoreTest, EqualTextsHaveEqualDigests) {
  write(random_passages(20, 8192), 8192);
  const auto store = TokenStore::open(real_file_system(), path_, kKey);
  for (int64_t a = 0; a < store->size(); ++a) {
    for (int64_t b = 0; b < store->size(); ++b) {
      EXPECT_EQ(store->text_digest(a) == store->text_digest(b), a % 5 == b % 5);
    }
  }
}

TEST_F(TokenStoreTest, AFileOfAnotherKeyIsRefused) {
  write(random_passages(3, 8192), 8192);
  expect_refused({std::byte{1}}, "another key");
}

TEST_F(TokenStoreTest, AFileCutAtAnyLengthIsRefused) {
  write(random_passages(4, 8192), 8192);
  for (uint64_t size = std::filesystem::file_size(path_); size-- > 0;) {
    std::filesystem::resize_file(path_, size);
    ASSERT_NO_FATAL_FAILURE(expect_refused(kKey, "cut at " + std::to_string(size)));
  }
}

TEST_F(TokenStoreTest, AFileWithMoreBehindItIsRefused) {
  write(random_passages(6, 8192), 8192);
  std::ofstream(path_, std::ios::binary | std::ios::app) << "x";
  expect_refused(kKey, "a byte more");
}

TEST_F(TokenStoreTest, AnyFlippedBitIsRefused) {
  write(random_passages(2, 8192), 8192);
  const std::string whole = read_file(real_file_system(), path_, 1 << 20);
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](size_t place, char byte) {
    file.seekp(static_cast<std::streamoff>(place));
    file.put(byte);
    file.flush();
  };
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    put(bit / 8, static_cast<char>(whole[bit / 8] ^ (1 << (bit % 8))));
    ASSERT_NO_FATAL_FAILURE(expect_refused(kKey, "bit " + std::to_string(bit)));
    if (bit % 8 == 7) put(bit / 8, whole[bit / 8]);
  }
  EXPECT_EQ(TokenStore::open(real_file_system(), path_, kKey)->size(), 2);
}

TEST_F(TokenStoreTest, AWriteThatFailsLeavesTheFileThatWasThere) {
  const auto passages = random_passages(6, 8192);
  write(passages, 8192);
  for (const std::string_view failing : {"create", "append", "sync", "rename"}) {
    ObservedFileSystem broken([&](std::string_view call, const std::filesystem::path&) {
      if (call == failing) throw Error(ErrorCode::kNoSpace, "full");
    });
    TokenStoreWriter other(8192);
    other.add("name", "", "text", passages.front().frames);
    EXPECT_THROW(other.write(broken, path_, kKey), Error) << failing;
    expect(passages, *TokenStore::open(real_file_system(), path_, kKey));
    EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp")) << failing;
  }
}

}  // namespace
}  // namespace msa::samples
