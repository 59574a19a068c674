#include "msa/samples/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/observed_file_system.h"
#include "msa/base/test_paths.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/samples/corpus_fixture.h"

namespace msa::samples {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const FrameEncoder& encoder() {
  static const LoadedLayout loaded(source_folder() / "models/msa-tiny");
  static const FrameEncoder made(loaded.layout());
  return made;
}

std::string line(const std::string& id, const std::string& title, const std::string& text) {
  return to_line(OrderedJson{{"id", id}, {"title", title}, {"text", text}}) + "\n";
}

std::string long_text(int64_t num_sentences) {
  std::string text;
  for (int64_t n = 0; n < num_sentences; ++n) {
    text += "Sentence " + std::to_string(n) + " of a long text says little, but it says it.";
    text += n % 7 == 6 ? "\n\n" : " ";
  }
  return text;
}

class TokenCacheTest : public testing::Test {
 protected:
  std::unique_ptr<TokenStore> open(FileSystem& files, int64_t max_document_tokens = 480) {
    notes_.clear();
    return open_token_cache(files, encoder(), documents_,
                            {.folder = cache_, .max_document_tokens = max_document_tokens},
                            [this](const std::string& what, double share) {
                              EXPECT_GE(share, 0);
                              EXPECT_LE(share, 1);
                              notes_.push_back(what);
                            });
  }
  std::unique_ptr<TokenStore> open() { return open(real_file_system()); }

  std::vector<std::filesystem::path> token_files() const {
    std::vector<std::filesystem::path> found;
    for (const std::string& name : real_file_system().list(cache_)) {
      if (name.ends_with(".tokens")) found.push_back(cache_ / name);
    }
    return found;
  }

  ScratchFolder folder_{"token_cache_test"};
  std::filesystem::path cache_ = folder_.path() / "cache";
  std::string bytes_ = line("a", "Moon", "It is far. It is round.") +
                       line("b", "", "  \n" + long_text(60)) +
                       line("c", "\u6708", "\u4e2d\u6587\u3002");
  std::filesystem::path documents_ = folder_.write("documents.jsonl", bytes_);
  std::vector<std::string> notes_;
};

TEST_F(TokenCacheTest, PassagesAreThoseOfTheSplitter) {
  for (const int64_t max_tokens : {16, 100, 480}) {
    const auto store = open(real_file_system(), max_tokens);
    const std::string whole = "  \n" + long_text(60);
    const auto spans =
        corpus::split_passages(whole, encoder().layout().tokenizer(), {.max_tokens = max_tokens});
    EXPECT_THAT(spans, SizeIs(testing::Gt(2U)));
    ASSERT_EQ(store->size(), std::ssize(spans) + 2);
    EXPECT_EQ(store->name(0), "a");
    EXPECT_EQ(store->title(0), "Moon");
    EXPECT_EQ(store->text(0), "It is far. It is round.");
    for (size_t n = 0; n < spans.size(); ++n) {
      const auto passage = static_cast<int64_t>(n) + 1;
      EXPECT_EQ(store->name(passage), "b");
      EXPECT_EQ(store->text(passage),
                whole.substr(static_cast<size_t>(spans[n].start),
                             static_cast<size_t>(spans[n].end - spans[n].start)));
      EXPECT_LE(std::ssize(encoder().layout().tokenizer().encode(store->text(passage))),
                max_tokens);
    }
    EXPECT_EQ(store->name(store->size() - 1), "c");
  }
}

TEST_F(TokenCacheTest, TextsOfJustTheLimitAreNotCut) {
  std::string text = long_text(3);
  text.resize(text.find_last_not_of(" \n") + 1);
  documents_ = folder_.write("documents.jsonl", line("a", "", text));
  const auto count = std::ssize(encoder().layout().tokenizer().encode(text));
  EXPECT_EQ(open(real_file_system(), count)->size(), 1);
  EXPECT_GT(open(real_file_system(), count - 1)->size(), 1);
}

TEST_F(TokenCacheTest, ASecondOpenReadsNoDocumentAndWritesNothing) {
  open();
  EXPECT_THAT(notes_, ElementsAre("tokenising " + documents_.string()));
  std::vector<std::string> calls;
  ObservedFileSystem observed([&](std::string_view call, const std::filesystem::path& path) {
    calls.push_back(std::string(call) + " " + path.filename().string());
  });
  const auto store = open(observed);
  const std::string tokens = token_files().front().filename().string();
  EXPECT_THAT(calls, ElementsAre("open documents.jsonl", "read documents.jsonl", "open " + tokens,
                                 "read " + tokens));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_EQ(store->size(), open()->size());
}

TEST_F(TokenCacheTest, OtherBytesOrAnotherLimitMakeAnotherFile) {
  open();
  EXPECT_THAT(token_files(), SizeIs(1));
  open(real_file_system(), 479);
  EXPECT_THAT(token_files(), SizeIs(2));
  folder_.write("documents.jsonl", bytes_ + line("d", "", "more"));
  const auto store = open();
  EXPECT_THAT(token_files(), SizeIs(3));
  EXPECT_EQ(store->text(store->size() - 1), "more");
}

TEST_F(TokenCacheTest, CompressedDocumentsGiveTheSamePassages) {
  const auto plain = open();
  std::string packed(ZSTD_compressBound(bytes_.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes_.data(), bytes_.size(), 3));
  documents_ = folder_.write("documents.jsonl.zst", packed);
  const auto store = open();
  ASSERT_EQ(store->size(), plain->size());
  for (int64_t n = 0; n < store->size(); ++n) {
    EXPECT_EQ(store->text(n), plain->text(n));
    EXPECT_EQ(store->text_digest(n), plain->text_digest(n));
  }
}

TEST_F(TokenCacheTest, DocumentsWithoutIdAreNamedByFileAndLineWhereverTheFolderLies) {
  documents_ = folder_.write("documents.jsonl", "\n{\"text\":\"One.\"}\n{\"text\":\"Two.\"}\n");
  const auto store = open();
  EXPECT_EQ(store->name(0), "documents.jsonl:2");
  EXPECT_EQ(store->name(1), "documents.jsonl:3");
  EXPECT_EQ(store->title(1), "");
}

TEST_F(TokenCacheTest, ADamagedFileIsMadeAnewWithANote) {
  open();
  const auto path = token_files().front();
  const std::string whole = read_file(real_file_system(), path, 1 << 20);
  std::vector<std::string> damaged{"", whole.substr(0, 71), whole.substr(0, whole.size() - 1),
                                   whole + "x", std::string(whole.size(), '\0')};
  for (const size_t place : {size_t{0}, size_t{9}, size_t{20}, size_t{40}, size_t{60}, size_t{80},
                             whole.size() / 2, whole.size() - 1}) {
    damaged.push_back(whole);
    damaged.back()[place] ^= 4;
  }
  for (const std::string& bytes : damaged) {
    folder_.write("cache/" + path.filename().string(), bytes);
    const auto store = open();
    ASSERT_THAT(notes_, SizeIs(2));
    EXPECT_THAT(notes_[0], HasSubstr(path.string()));
    EXPECT_THAT(notes_[0], HasSubstr("made anew"));
    EXPECT_EQ(read_file(real_file_system(), path, 1 << 20), whole);
    EXPECT_EQ(store->text(0), "It is far. It is round.");
    open();
    EXPECT_THAT(notes_, IsEmpty());
  }
}

TEST_F(TokenCacheTest, AFullDiskLeavesNoFile) {
  for (const std::string_view failing : {"append", "sync", "rename"}) {
    ObservedFileSystem full([&](std::string_view call, const std::filesystem::path&) {
      if (call == failing) throw Error(ErrorCode::kNoSpace, "full");
    });
    EXPECT_THROW(open(full), Error);
    EXPECT_THAT(real_file_system().list(cache_), ElementsAre("lock"));
  }
  EXPECT_EQ(open()->name(0), "a");
}

TEST_F(TokenCacheTest, ThoseWhoOpenAtOnceWaitForTheOneThatMakesTheFile) {
  std::vector<std::unique_ptr<TokenStore>> stores(4);
  std::vector<int> made(stores.size());
  std::vector<std::thread> threads;
  for (size_t n = 0; n < stores.size(); ++n) {
    threads.emplace_back([&, n] {
      stores[n] = open_token_cache(real_file_system(), encoder(), documents_, {.folder = cache_},
                                   [&, n](const std::string&, double) { made[n] = 1; });
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& store : stores) EXPECT_EQ(store->text(0), "It is far. It is round.");
  EXPECT_EQ(std::count(made.begin(), made.end(), 1), 1);
}

}  // namespace
}  // namespace msa::samples
