// Data that is not what it should be is refused with the file and the line.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/samples/corpus_fixture.h"
#include "msa/samples/train_corpus.h"

namespace msa::samples {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const text::PromptLayout& layout() {
  static const LoadedLayout loaded(source_folder() / "models/msa-tiny");
  return loaded.layout();
}

enum class Place { kDocuments, kQuestions, kHeldBack };

struct BadData {
  const char* what;   // is wrong
  Place place;        // the file that has it
  std::string bytes;  // behind the valid lines of that file, from line 3 on
  int line;           // that is named
  const char* why;    // part of the message
};

constexpr const char* kDocuments =
    "{\"id\":\"a\",\"title\":\"Io\",\"text\":\"It is hot.\"}\n"
    "{\"id\":\"b\",\"title\":\"Europa\",\"text\":\"It is icy.\"}\n";
constexpr const char* kQuestions =
    "{\"id\":\"q\",\"question\":\"Which is hot?\",\"answers\":[\"Io\"],\"documents\":[\"a\"]}\n"
    "{\"id\":\"r\",\"question\":\"Which is "
    "icy?\",\"answers\":[\"Europa\"],\"documents\":[\"b\"]}\n";
constexpr const char* kHeldBack = "q\n\n";

std::vector<BadData> bad_data() {
  std::vector<BadData> all;
  const auto document = [&](const char* what, const std::string& bytes, int line, const char* why) {
    all.push_back({what, Place::kDocuments, bytes, line, why});
  };
  document("empty text", R"({"id":"c","text":""})", 3, "the text is empty");
  document("text of blanks", R"({"id":"c","text":" \n\t "})", 3, "the text is empty");
  document("no text", R"({"id":"c","title":"Luna"})", 3, "\"text\"");
  document("text that is a number", R"({"id":"c","text":7})", 3, "\"text\"");
  document("text that is null", R"({"id":"c","text":null})", 3, "\"text\"");
  document("title that is a list", R"({"id":"c","title":[],"text":"x"})", 3, "\"title\"");
  document("empty id", R"({"id":"","text":"x"})", 3, "\"id\"");
  document("id that is no whole number", R"({"id":1.5,"text":"x"})", 3, "\"id\"");
  document("id that is an object", R"({"id":{},"text":"x"})", 3, "\"id\"");
  document("id twice", R"({"id":"a","text":"x"})", 3, "the id \"a\" is that of line 1 too");
  document("id twice, farther on", "{\"text\":\"x\"}\n\n{\"id\":\"b\",\"text\":\"x\"}", 5,
           "the id \"b\" is that of line 2 too");
  document("line that is no JSON", "Luna", 3, "JSON");
  document("line that is cut", R"({"id":"c","text":"It is)", 3, "JSON");
  document("two objects in a line", R"({"id":"c","text":"x"}{"id":"d","text":"y"})", 3, "JSON");
  document("line that is a list", R"(["c","x"])", 3, "must be an object");
  document("key twice", R"({"id":"c","text":"x","text":"y"})", 3, "text");
  document("bytes that are not UTF-8", "{\"id\":\"c\",\"text\":\"\xff\xfe\"}", 3, "UTF-8");
  document("overlong UTF-8", "{\"id\":\"c\",\"text\":\"\xc0\xaf\"}", 3, "UTF-8");
  document("half of a surrogate pair", R"({"id":"c","text":"\ud800"})", 3, "JSON");
  document("title that is not UTF-8", "{\"id\":\"c\",\"title\":\"\xe4\",\"text\":\"x\"}", 3,
           "UTF-8");
  document("deep nesting",
           "{\"id\":\"c\",\"text\":\"x\",\"more\":" + std::string(100, '[') +
               std::string(100, ']') + "}",
           3, "nest");
  const auto question = [&](const char* what, const std::string& bytes, int line, const char* why) {
    all.push_back({what, Place::kQuestions, bytes, line, why});
  };
  question("no question", R"({"id":"s","documents":["a"]})", 3, "\"question\"");
  question("empty question", R"({"id":"s","question":"","documents":["a"]})", 3,
           "the question is empty");
  question("question of blanks", R"({"id":"s","question":" \n","documents":["a"]})", 3,
           "the question is empty");
  question("question that is a number", R"({"id":"s","question":1,"documents":["a"]})", 3,
           "\"question\"");
  question("no gold key", R"({"id":"s","question":"Who?"})", 3, "no gold documents");
  question("empty list of gold", R"({"id":"s","question":"Who?","documents":[]})", 3,
           "no gold documents");
  question("gold that is no list", R"({"id":"s","question":"Who?","documents":"a"})", 3,
           "\"documents\" must be a list");
  question("gold of a wrong type", R"({"id":"s","question":"Who?","documents":[{}]})", 3,
           "\"documents\" must be a list");
  question("gold of an empty id", R"({"id":"s","question":"Who?","documents":[""]})", 3,
           "the id of a gold document is empty");
  question("gold that no source has", R"({"id":"s","question":"Who?","documents":["a","z"]})", 3,
           "no source has the gold document \"z\"");
  question("gold twice", R"({"id":"s","question":"Who?","documents":["a","b","a"]})", 3,
           "\"a\" is named twice");
  question("gold that two other sources have",
           R"({"id":"s","question":"Who?","documents":["elsewhere"]})", 3,
           "several sources have the gold document \"elsewhere\"");
  question("answers that are no list",
           R"({"id":"s","question":"Who?","answers":"Io","documents":["a"]})", 3,
           "\"answers\" must be a list");
  question("answer that is null",
           R"({"id":"s","question":"Who?","answers":[null],"documents":["a"]})", 3,
           "\"answers\" must be a list");
  question("empty answer", R"({"id":"s","question":"Who?","answers":[" "],"documents":["a"]})", 3,
           "an answer is empty");
  question("question id twice", R"({"id":"r","question":"Who?","documents":["a"]})", 3,
           "the id \"r\" is that of line 2 too");
  question("question id of another file of the source",
           R"({"id":"earlier","question":"Who?","documents":["a"]})", 3, "an earlier file");
  question("question that is no JSON", "Who?", 3, "JSON");
  question("question that is cut", "\n{\"id\":\"s\",\"question\":\"Wh", 4, "JSON");
  question("question that is not UTF-8",
           "{\"id\":\"s\",\"question\":\"\xff\",\"documents\":[\"a\"]}", 3, "JSON");
  const auto held_back = [&](const char* what, const std::string& bytes, int line,
                             const char* why) {
    all.push_back({what, Place::kHeldBack, bytes, line, why});
  };
  held_back("held-back id that no source has", "z\n", 3, "no source has the question \"z\"");
  held_back("held-back document", "r\na\n", 4, "no source has the question \"a\"");
  held_back("held-back id that is not UTF-8", "\xff\n", 3, "UTF-8");
  return all;
}

class BadCorpusTest : public testing::Test {
 protected:
  std::string write(Place place, const std::string& bytes) const {
    const auto file = [&](Place own, const char* name, const char* valid) {
      return folder_.write(name, valid + (own == place ? bytes : std::string()));
    };
    file(Place::kDocuments, "documents.jsonl", kDocuments);
    file(Place::kQuestions, "questions.jsonl", kQuestions);
    file(Place::kHeldBack, "held_back.txt", kHeldBack);
    const char* names[] = {"documents.jsonl", "questions.jsonl", "held_back.txt"};
    return (folder_.path() / names[static_cast<int>(place)]).string();
  }

  void open() const {
    const std::string elsewhere = "{\"id\":\"elsewhere\",\"text\":\"It is near.\"}\n";
    const std::string earlier =
        "{\"id\":\"earlier\",\"question\":\"Which?\",\"documents\":[\"a\"]}\n";
    TrainCorpusOptions options;
    options.cache = folder_.path() / "cache";
    options.sources = {
        {.name = "one",
         .documents = folder_.path() / "documents.jsonl",
         .questions = {folder_.write("earlier.jsonl", earlier),
                       folder_.path() / "questions.jsonl"}},
        {.name = "two", .documents = folder_.write("two.jsonl", elsewhere), .questions = {}},
        {.name = "three", .documents = folder_.write("three.jsonl", elsewhere), .questions = {}}};
    options.held_back = {folder_.path() / "held_back.txt"};
    TrainCorpus::open(real_file_system(), layout(), options);
  }

  void expect_refused(const std::string& what, const std::string& named, const std::string& why,
                      ErrorCode code = ErrorCode::kInvalidFormat) const {
    try {
      open();
      ADD_FAILURE() << "not refused: " << what;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), StartsWith(named)) << what;
      EXPECT_THAT(error.what(), HasSubstr(why)) << what;
      EXPECT_EQ(error.code(), code) << what << ": " << error.what();
    }
  }

  ScratchFolder folder_{"bad_corpus_test"};
};

TEST_F(BadCorpusTest, DataWithoutAFaultIsTaken) {
  write(Place::kDocuments, "");
  EXPECT_NO_THROW(open());
}

TEST_F(BadCorpusTest, EveryFaultIsRefusedWithFileAndLine) {
  const std::vector<BadData> all = bad_data();
  EXPECT_GE(all.size(), 40U);
  for (const BadData& bad : all) {
    const std::string file = write(bad.place, bad.bytes);
    expect_refused(bad.what, file + " line " + std::to_string(bad.line) + ":", bad.why);
  }
}

TEST_F(BadCorpusTest, AFaultIsFoundAgainOnceTheDocumentsAreInTheCache) {
  write(Place::kDocuments, "");
  open();
  const std::string questions =
      write(Place::kQuestions, R"({"id":"s","question":"Who?","documents":["z"]})");
  expect_refused("gold that no source has", questions + " line 3:", "\"z\"");
  const std::string documents = write(Place::kDocuments, R"({"id":"c","text":""})");
  expect_refused("empty text", documents + " line 3:", "the text is empty");
  expect_refused("empty text, read again", documents + " line 3:", "the text is empty");
}

TEST_F(BadCorpusTest, FilesWithoutALineAreRefusedByName) {
  write(Place::kDocuments, "");
  const auto documents = folder_.write("documents.jsonl", "\n\n");
  expect_refused("no document", documents.string(), "no document at all");
  write(Place::kDocuments, "");
  const auto questions = folder_.write("questions.jsonl", "");
  expect_refused("no question", questions.string(), "no question at all");
  write(Place::kDocuments, "");
  std::filesystem::remove(folder_.path() / "held_back.txt");
  expect_refused("no file", "cannot open " + (folder_.path() / "held_back.txt").string(), "",
                 ErrorCode::kNotFound);
  write(Place::kDocuments, "");
  std::filesystem::remove(documents);
  expect_refused("no file", "cannot open " + documents.string(), "", ErrorCode::kNotFound);
}

}  // namespace
}  // namespace msa::samples
