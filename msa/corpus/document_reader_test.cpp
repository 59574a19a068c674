#include "msa/corpus/document_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::corpus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class DocumentReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("document_reader_test." + std::to_string(::getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }

  static std::string compressed(const std::string& bytes) {
    std::string out(ZSTD_compressBound(bytes.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
    return out;
  }

  std::vector<SourceDocument> read(const std::vector<std::filesystem::path>& paths) {
    problems_.clear();
    DocumentReader reader(real_file_system(), paths,
                          [this](const InputProblem& problem) { problems_.push_back(problem); });
    std::vector<SourceDocument> documents;
    uint64_t bytes_before = 0;
    for (SourceDocument document; reader.next(document);) {
      documents.push_back(document);
      EXPECT_LE(bytes_before, reader.bytes_read());
      bytes_before = reader.bytes_read();
      EXPECT_LE(bytes_before, reader.total_bytes());
    }
    EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
    SourceDocument more;
    EXPECT_FALSE(reader.next(more));
    return documents;
  }

  std::vector<std::string> names(const std::vector<std::filesystem::path>& paths) {
    std::vector<std::string> names;
    for (const SourceDocument& document : read(paths)) {
      names.push_back(std::filesystem::path(document.name).lexically_relative(folder_).string());
    }
    return names;
  }

  /// Problems as "name:line: what".
  std::vector<std::string> problems() const {
    std::vector<std::string> texts;
    for (const InputProblem& problem : problems_) {
      texts.push_back(std::filesystem::path(problem.file).filename().string() + ":" +
                      std::to_string(problem.line) + ": " + problem.what);
    }
    return texts;
  }

  std::filesystem::path folder_;
  std::vector<InputProblem> problems_;
};

TEST_F(DocumentReaderTest, ReadsEveryKeyOfAJsonLine) {
  const auto path =
      write("a.jsonl", R"({"id":"d1","title":"T","text":" t\n","lang":"en","source":"s","n":[1]})"
                       "\n\n"
                       R"({"id":-7,"text":"u","title":null})"
                       "\r\n"
                       R"({"text":"v"})");
  const auto documents = read({path});
  EXPECT_THAT(problems(), IsEmpty());
  ASSERT_EQ(documents.size(), 3U);
  EXPECT_EQ(documents[0].name, "d1");
  EXPECT_EQ(documents[0].title, "T");
  EXPECT_EQ(documents[0].text, " t\n");
  EXPECT_EQ(parse_json(documents[0].attributes, "attributes"),
            parse_json(R"({"lang":"en","source":"s","n":[1]})", "wanted"));
  EXPECT_EQ(documents[0].file, path.string());
  EXPECT_EQ(documents[0].line, 1);
  EXPECT_EQ(documents[1].name, "-7");
  EXPECT_EQ(documents[1].title, "");
  EXPECT_EQ(documents[1].line, 3);
  EXPECT_EQ(documents[1].attributes, "{}");
  EXPECT_EQ(documents[2].name, path.string() + ":4");
}

TEST_F(DocumentReaderTest, KeepsTheBytesOfTextFilesButForAByteOrderMark) {
  const std::string text = "\r\n  One\r\ntwo\t\xC3\xA9\xCC\x81\n\n";
  const auto documents = read({write("a.txt", text), write("b.txt", "\xEF\xBB\xBF" + text),
                               write("c.TXT", text), write("d.txt.zst", compressed(text))});
  ASSERT_EQ(documents.size(), 4U);
  for (const SourceDocument& document : documents) {
    EXPECT_EQ(document.text, text);
    EXPECT_EQ(document.title, "");
    EXPECT_EQ(document.name, document.file);
    EXPECT_EQ(document.line, 0);
    EXPECT_EQ(document.attributes, "{}");
  }
  EXPECT_EQ(documents[0].name, (folder_ / "a.txt").string());
}

TEST_F(DocumentReaderTest, TakesTheFirstHeadingOfAMarkdownFileAsItsTitle) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"# Title\ntext", "Title"},
      {"\xEF\xBB\xBF# Title \r\ntext", "Title"},
      {"#   About C#\ntext", "About C#"},
      {"# Closed ##\ntext", "Closed"},
      {"# Only", "Only"},
      {"## Second level\n", ""},
      {"text\n# Later\n", ""},
      {"# Closed\t##\n", "Closed"},
      {"# ###\n", ""},
      {"# \t\ntext", ""},
      {"#Tag\n", ""}};
  for (const auto& [text, title] : cases) {
    const auto documents = read({write("a.md", text)});
    ASSERT_EQ(documents.size(), 1U) << text;
    EXPECT_EQ(documents[0].title, title) << text;
  }
}

TEST_F(DocumentReaderTest, WalksFoldersInOrderOfNamesWithoutHiddenEntries) {
  write("in/b.txt", "b");
  write("in/a/z.md", "z");
  write("in/a/y.jsonl", R"({"id":"y","text":"y"})");
  write("in/c.jsonl.zst", compressed("{\"text\":\"c\"}\n"));
  write("in/.hidden.txt", "h");
  write("in/.git/x.txt", "h");
  const auto documents = read({folder_ / "in"});
  EXPECT_THAT(problems(), IsEmpty());
  std::vector<std::string> texts;
  for (const SourceDocument& document : documents) texts.push_back(document.text);
  EXPECT_THAT(texts, ElementsAre("y", "z", "b", "c"));
  EXPECT_THAT(names({folder_ / "in/b.txt", folder_ / "in/a"}),
              ElementsAre("in/b.txt", testing::_, "in/a/z.md"));
}

TEST_F(DocumentReaderTest, ReportsFilesOfOtherKindsOnceForEachExtension) {
  for (const char* name : {"a.png", "b.PNG", "c.png", "d.pdf.zst", "e"}) write(name, "x");
  write("f.txt", "x");
  EXPECT_THAT(names({folder_}), ElementsAre("f.txt"));
  EXPECT_THAT(
      problems(),
      ElementsAre("e:0: skipped: not a .txt, .md or .jsonl file (or .zst of one)",
                  AllOf(HasSubstr("a.png:0: skipped"), HasSubstr("and 2 more that end in .png")),
                  HasSubstr("d.pdf.zst:0: skipped")));
}

TEST_F(DocumentReaderTest, KnowsBothNamesOfTextAndMarkdown) {
  for (const char* name : {"a.text", "b.markdown", "c.MD", "d.TXT"}) write(name, "x");
  EXPECT_THAT(names({folder_}), ElementsAre("a.text", "b.markdown", "c.MD", "d.TXT"));
  EXPECT_THAT(problems(), IsEmpty());
}

TEST_F(DocumentReaderTest, ReportsWhatIsNoPlainFileAndFilesWithoutExtension) {
  write("a", "x");
  write("b", "x");
  ASSERT_EQ(::mkfifo((folder_ / "pipe.txt").c_str(), 0600), 0);
  EXPECT_THAT(names({folder_}), IsEmpty());
  EXPECT_THAT(problems(), ElementsAre("pipe.txt:0: skipped: not a plain file",
                                      HasSubstr("and 1 more without extension")));
}

TEST_F(DocumentReaderTest, ReadsAFolderOnceThoughLinksLeadRoundInCircles) {
  write("in/a/x.txt", "x");
  std::filesystem::create_directory_symlink("..", folder_ / "in/a/up");
  std::filesystem::create_directory_symlink("a", folder_ / "in/b");
  std::filesystem::create_symlink("nowhere", folder_ / "in/c.txt");
  EXPECT_THAT(names({folder_ / "in", folder_ / "in/a"}), ElementsAre("in/a/x.txt"));
  EXPECT_THAT(problems(),
              ElementsAre("up:0: skipped: this folder was read before",
                          "b:0: skipped: this folder was read before", HasSubstr("c.txt:0: "),
                          "a:0: skipped: this folder was read before"));
}

TEST_F(DocumentReaderTest, ReportsBadLinesAndGoesOn) {
  const auto path = write("a.jsonl",
                          "{\"text\":\"1\"}\n"
                          "{\"text\":\"broken\n"               // 2
                          "{\"id\":\"no text\"}\n"             // 3
                          "{\"text\":\" \\n\"}\n"              // 4
                          "{\"text\":\"\xFF\"}\n"              // 5
                          "[1]\n"                              // 6
                          "{\"id\":1.5,\"text\":\"x\"}\n"      // 7
                          "{\"text\":\"x\",\"text\":\"y\"}\n"  // 8
                          "{\"text\":7}\n"                     // 9
                          "{\"text\":\"\\ud800\"}\n"           // 10
                          "{\"id\":\"\",\"text\":\"x\"}\n"     // 11
                          "{\"title\":3,\"text\":\"x\"}\n"     // 12
                          "{\"text\":\"2\"}\n");
  const auto documents = read({path});
  ASSERT_EQ(documents.size(), 2U);
  EXPECT_EQ(documents[1].text, "2");
  EXPECT_EQ(documents[1].line, 13);
  ASSERT_EQ(problems_.size(), 11U);
  for (size_t i = 0; i < problems_.size(); ++i) {
    EXPECT_EQ(problems_[i].file, path.string());
    EXPECT_EQ(problems_[i].line, static_cast<int64_t>(i) + 2);
  }
  EXPECT_THAT(problems()[1], HasSubstr("\"text\" is missing"));
  EXPECT_THAT(problems()[2], HasSubstr("the text is empty"));
  EXPECT_THAT(problems()[3], HasSubstr("not UTF-8 at byte 9"));
  EXPECT_THAT(problems()[5], HasSubstr("\"id\" must be a string or a whole number"));
}

TEST_F(DocumentReaderTest, ReportsALineThatIsTooLongAndGoesOn) {
  write("a.jsonl", "{\"text\":\"1\"}\n{\"text\":\"" + std::string(size_t{65} << 20, 'x') +
                       "\"}\n{\"text\":\"3\"}\n");
  EXPECT_EQ(read({folder_ / "a.jsonl"}).size(), 2U);
  ASSERT_EQ(problems_.size(), 1U);
  EXPECT_EQ(problems_[0].line, 2);
  EXPECT_THAT(problems_[0].what, HasSubstr("longer than"));
}

TEST_F(DocumentReaderTest, ReportsBadFilesAndGoesOn) {
  std::string cut = compressed("{\"text\":\"" + std::string(1000, 'x') + "\"}\n");
  cut.resize(cut.size() - 4);
  write("a.jsonl.zst", cut);
  write("b.txt", "one\ntwo \xC3(");
  write("c.txt", " \r\n\t");
  write("d.txt.zst", "plain");
  write("e.txt", "good");
  EXPECT_THAT(names({folder_}), ElementsAre("e.txt"));
  EXPECT_THAT(problems(), ElementsAre(HasSubstr("a.jsonl.zst:1: "), "b.txt:2: not UTF-8 at byte 8",
                                      "c.txt:0: the text is empty", HasSubstr("d.txt.zst:0: ")));
}

TEST_F(DocumentReaderTest, RefusesAMissingPathBeforeAnythingIsRead) {
  int num_problems = 0;
  try {
    DocumentReader(real_file_system(), {write("a.png", "x"), folder_ / "none.txt"},
                   [&](const InputProblem&) { ++num_problems; });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("none.txt"));
  }
  EXPECT_EQ(num_problems, 0);
}

TEST_F(DocumentReaderTest, ReadsWithoutACallForProblems) {
  write("a.jsonl", "broken\n{\"id\":\"x\",\"text\":\"x\"}\n");
  write("b.png", "x");
  DocumentReader reader(real_file_system(), {folder_}, {});
  SourceDocument document;
  ASSERT_TRUE(reader.next(document));
  EXPECT_EQ(document.name, "x");
  EXPECT_FALSE(reader.next(document));
}

TEST_F(DocumentReaderTest, ReadsQuestionsWithWhatIsKnownOfThem) {
  const std::string lines =
      "\xEF\xBB\xBF{\"id\":\"q1\",\"question\":\"Who?\",\"answers\":[\"A\",\"\",\"B\"],"
      "\"documents\":[\"d\",7],\"lang\":\"en\"}\n\n"
      "{\"question\":\"What?\"}\n{\"id\":3,\"question\":\"When?\",\"answers\":null}\n";
  for (const auto& path : {write("q.jsonl", lines), write("q.jsonl.zst", compressed(lines))}) {
    const auto questions = read_questions(real_file_system(), path);
    ASSERT_EQ(questions.size(), 3U);
    EXPECT_EQ(questions[0].id, "q1");
    EXPECT_EQ(questions[0].text, "Who?");
    EXPECT_THAT(questions[0].answers, ElementsAre("A", "", "B"));
    EXPECT_THAT(questions[0].documents, ElementsAre("d", "7"));
    EXPECT_EQ(questions[1].id, "");
    EXPECT_EQ(questions[1].line, 3);
    EXPECT_THAT(questions[1].answers, IsEmpty());
    EXPECT_EQ(questions[2].id, "3");
  }
}

TEST_F(DocumentReaderTest, RefusesBadQuestionsNamingFileAndLine) {
  for (const char* line :
       {"{", "[]", "{\"id\":\"x\"}", "{\"question\":7}", "{\"question\":\"x\",\"answers\":\"x\"}",
        "{\"question\":\"x\",\"documents\":[null]}"}) {
    const auto path = write("q.jsonl", std::string("{\"question\":\"x\"}\n") + line + "\n");
    try {
      read_questions(real_file_system(), path);
      ADD_FAILURE() << "no error for " << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat);
      EXPECT_THAT(error.what(), HasSubstr(path.string() + " line 2"));
    }
  }
  EXPECT_THROW(read_questions(real_file_system(), folder_ / "none.jsonl"), Error);
}

TEST_F(DocumentReaderTest, ManyQuestionsKeepTheirOrderAndTheFirstBadOneIsNamed) {
  std::string lines;
  for (int n = 1; n <= 40'000; ++n) {
    lines += "{\"question\":\"Which is number " + std::to_string(n) + "?\"}\n";
  }
  const auto questions = read_questions(real_file_system(), write("q.jsonl", lines));
  ASSERT_EQ(questions.size(), 40'000U);
  for (int64_t n = 1; n <= 40'000; ++n) {
    const Question& question = questions[static_cast<size_t>(n) - 1];
    EXPECT_EQ(question.text, "Which is number " + std::to_string(n) + "?");
    EXPECT_EQ(question.line, n);
  }
  for (const std::string bad : {"16400", "16399", "15"}) {
    lines.replace(lines.find("question\":\"Which is number " + bad + "?"), 1, "Q");
    try {
      read_questions(real_file_system(), write("q.jsonl", lines));
      ADD_FAILURE() << "no error for line " << bad;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("q.jsonl line " + bad + ":"));
    }
  }
}

}  // namespace
}  // namespace msa::corpus
