// What is exported from a bank is what an ingest reads: the same documents.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "msa/base/json.h"
#include "msa/corpus/document_reader.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/export_bank.h"

namespace msa::memory {
namespace {

/// Documents as an ingest reads them.
std::vector<corpus::SourceDocument> read(const std::filesystem::path& path) {
  corpus::DocumentReader reader(
      real_file_system(), {path},
      [](const corpus::InputProblem& problem) { ADD_FAILURE() << problem.line << problem.what; });
  std::vector<corpus::SourceDocument> documents;
  for (corpus::SourceDocument document; reader.next(document);) documents.push_back(document);
  return documents;
}

std::string random_text(std::mt19937& random) {
  constexpr const char* kPieces[] = {"a",  " ",    "\n",         "\"",       "\\",
                                     "\t", "\x01", "{}",         "\u00e9",   "\u2028",
                                     "/",  "\r",   "\U0001F600", "</script>"};
  std::string text = "x";
  for (uint32_t left = random() % 200; left > 0; --left) text += kPieces[random() % 14];
  return text;
}

class ExportTest : public BankTest {
 protected:
  void write_bank(const std::vector<corpus::SourceDocument>& documents) const {
    const auto writer = open_writer();
    RandomBatch batch = next_batch(*writer, static_cast<int64_t>(documents.size()), 5);
    for (size_t n = 0; n < documents.size(); ++n) {
      Document& document = batch.documents[n];
      document.name = documents[n].name;
      document.title = documents[n].title;
      document.text = documents[n].text;
      document.attributes = documents[n].attributes;
      for (Passage& passage : document.passages) passage.start = passage.end = 0;
    }
    writer->commit(batch.documents, batch.encoded);
  }
  void export_to(const std::filesystem::path& path) const {
    const auto bank = open();
    write_file_atomically(real_file_system(), path, [&](File& file) {
      export_documents(
          *bank,
          [&](std::string_view line) {
            file.append(std::as_bytes(std::span(line)));
            file.append(std::as_bytes(std::span("\n", 1)));
          },
          [](const Error& error) { ADD_FAILURE() << error.what(); });
    });
  }
};

TEST_F(ExportTest, WhatIsReadAgainIsTheSameDocument) {
  constexpr uint32_t kSeed = 7;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  std::vector<corpus::SourceDocument> documents;
  std::set<std::string> names;
  while (documents.size() < 200) {
    corpus::SourceDocument document;
    document.name = random_text(random);
    if (!names.insert(document.name).second) continue;
    document.title = random() % 3 == 0 ? "" : random_text(random);
    document.text = random_text(random);
    const Json value = random_text(random);
    if (random() % 2 == 0) {
      document.attributes = to_line(Json{{"z", {1, 2.5, 1e300, -0.1, nullptr, true}},
                                         {"a", value},
                                         {"Id", 18446744073709551615ULL},
                                         {"n", {{"text", value}, {"id", 1}}}});
    }
    documents.push_back(std::move(document));
  }
  write_bank(documents);
  const std::filesystem::path file = folder().string() + ".jsonl";
  export_to(file);
  const auto again = read(file);
  std::filesystem::remove(file);
  ASSERT_EQ(again.size(), documents.size());
  for (size_t n = 0; n < again.size(); ++n) {
    EXPECT_EQ(again[n].name, documents[n].name);
    EXPECT_EQ(again[n].title, documents[n].title);
    EXPECT_EQ(again[n].text, documents[n].text);
    EXPECT_EQ(again[n].attributes, documents[n].attributes);
  }
}

}  // namespace
}  // namespace msa::memory
