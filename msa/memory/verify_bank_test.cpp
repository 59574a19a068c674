#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <random>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/file_damage.h"
#include "msa/storage/database.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

using kernels::ContentType;

/// Everything that a bank can give out.
struct AllOfIt {
  std::string words;
  std::vector<float> numbers;
  bool operator==(const AllOfIt&) const = default;
};

AllOfIt read_all(const Bank& bank) {
  AllOfIt all;
  const auto source = bank.source();
  for (const Document& listed : bank.list(0, 1000)) {
    const Document document = bank.find(listed.name).value();
    for (const auto* part : {&document.name, &document.title, &document.text, &document.attributes,
                             &document.source}) {
      all.words += *part + '\n';
    }
  }
  for (const Passage& p : bank.passages()) {
    for (const int64_t x : {p.id, p.document, p.start, p.end, p.tokens, p.chunks, p.segment}) {
      all.words += std::to_string(x) + ' ';
    }
    const int64_t place = bank.place_of(p.id).value();
    for (int64_t layer = 0; layer < source->shape().num_layers; ++layer) {
      std::vector<float> rows(2 * source->num_chunks(place) * source->shape().key_dim());
      source->fetch(layer, std::span(&place, 1), rows.data(), rows.data() + rows.size() / 2);
      all.numbers.insert(all.numbers.end(), rows.begin(), rows.end());
    }
  }
  std::vector<float> query(4 * source->shape().head_dim);
  std::iota(query.begin(), query.end(), -16.0F);
  for (int64_t layer = 0; layer < source->shape().num_layers; ++layer) {
    std::vector<float> scores(source->num_documents());
    source->route(layer, {.values = query.data(), .num_tokens = 1, .num_heads = 4, .rule = {}}, 1,
                  scores);
    all.numbers.insert(all.numbers.end(), scores.begin(), scores.end());
  }
  return all;
}

class BankOfContent : public BankTest, public testing::WithParamInterface<ContentType> {
 protected:
  static BankFacts own_facts() {
    BankFacts own = facts();
    own.content_type = GetParam();
    return own;
  }
};

INSTANTIATE_TEST_SUITE_P(Types, BankOfContent,
                         testing::Values(ContentType::kBFloat16, ContentType::kInt4),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(BankOfContent, EveryFlippedByteOfASegmentIsFoundNamedAndNeverUsed) {
  commit(*BankWriter::open(real_file_system(), folder(), own_facts()), 3, 1);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment(1)));
  const int64_t table = size - 16;  // of one block
  for (int64_t offset = 0; offset < size; ++offset) {
    const Keep keep(segment(1));
    flip(segment(1), offset, static_cast<unsigned>(offset % 8));
    const auto problems = verify();
    // A digest that is not that of its block leaves open which of the two is damaged.
    ASSERT_EQ(problems.size(), offset < table ? 1U : 2U) << "byte " << offset << " of " << size;
    ASSERT_EQ(problems[0].file, segment(1).string());
    ASSERT_EQ(problems[0].offset, 0);
    ASSERT_EQ(problems.back().offset, offset < table ? 0 : table);
    ASSERT_NE(problems[0].document.find("doc-1"), std::string::npos) << problems[0].document;
    ASSERT_THROW(read_all(*open()), Error) << "byte " << offset;
  }
  EXPECT_TRUE(verify().empty());
}

TEST_P(BankOfContent, InALargeSegmentOnlyTheDocumentsOfTheBlockAreNamed) {
  BankFacts own = own_facts();
  own.shape.head_dim = 64;
  own.key_type = kernels::NumberType::kInt8;
  const RandomBatch batch = make_random_batch(
      own.shape, {.first_id = 1, .num_documents = 60, .max_chunks = 200, .seed = 3});
  BankWriter::open(real_file_system(), folder(), own)->commit(batch.documents, batch.encoded);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment(1)));
  const auto block = static_cast<int64_t>(storage::kDigestBlockBytes);
  ASSERT_GT(size, 8 * block);
  // The last record's last bytes: before the table of digests.
  const int64_t table = size / block * 16 + 16;
  const int64_t last = size - table - 1;
  flip(segment(1), last, 3);
  const auto problems = verify();
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].offset, last / block * block);
  EXPECT_NE(problems[0].document.find("doc-60"), std::string::npos) << problems[0].document;
  EXPECT_EQ(problems[0].document.find("doc-1,"), std::string::npos) << problems[0].document;
  // The others go on: only what lies in the block cannot be fetched.
  const auto source = open()->source();
  std::vector<float> rows(2 * 200 * own.shape.key_dim());
  int64_t refused = 0;
  for (int64_t place = 0; place < source->num_documents(); ++place) {
    try {
      source->fetch(1, std::span(&place, 1), rows.data(), rows.data() + rows.size() / 2);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorruption);
      EXPECT_NE(std::string(error.what()).find("passage " + std::to_string(place + 1)),
                std::string::npos)
          << error.what();
      ++refused;
    }
  }
  EXPECT_GE(refused, 1);
  EXPECT_LT(refused, 30);
}

TEST_F(BankTest, FlippedBitsOfTheCatalogAreFoundOrChangeNothing) {
  const uint32_t seed = 4;
  write(60, 1);
  write(40, 2);
  const AllOfIt before = read_all(*open());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(catalog()));
  std::mt19937 random(seed);
  int64_t found = 0;
  int64_t harmless = 0;
  for (int round = 0; round < 300; ++round) {
    const auto offset = static_cast<int64_t>(random() % static_cast<uint32_t>(size));
    const Keep keep(catalog());
    flip(catalog(), offset, static_cast<unsigned>(random() % 8));
    if (!verify().empty()) {
      ++found;
      continue;
    }
    // Space that no row uses: all that the bank gives out is as it was.
    ++harmless;
    ASSERT_EQ(read_all(*open()), before) << "byte " << offset << " seed " << seed;
  }
  RecordProperty("found", static_cast<int>(found));
  RecordProperty("harmless", static_cast<int>(harmless));
  EXPECT_GT(found, 100);
}

TEST_F(BankTest, EveryColumnOfTheCatalogIsCovered) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> tables{
      {"facts", {"value", "digest"}},
      {"segments",
       {"id", "file", "passages", "chunks", "tokens", "bytes", "table_digest", "digest"}},
      {"documents", {"id", "name", "title", "text", "attributes", "source", "content", "digest"}},
      {"passages", {"id", "document", "start", "end", "tokens", "chunks", "segment", "digest"}}};
  write(3, 1);
  write(2, 2);
  const auto change = [&](const std::string& sql) {
    const storage::Database database(catalog(), storage::Database::Mode::kWrite);
    database.execute("PRAGMA foreign_keys = OFF");
    database.execute(sql);
  };
  const auto type_of = [&](const std::string& table, const std::string& column) {
    const storage::Database database(catalog(), storage::Database::Mode::kRead);
    auto rows = database.prepare("SELECT typeof(" + column + ") FROM " + table);
    return rows.next() ? rows.text(0) : "nothing";
  };
  for (const auto& [table, columns] : tables) {
    for (const std::string& column : columns) {
      const Keep keep(catalog());
      const std::string type = type_of(table, column);
      const std::string other = type == "integer" ? column + " + 1000"
                                : type == "text"  ? column + " || 'x'"
                                                  : "zeroblob(16)";
      change("UPDATE " + table + " SET " + column + " = " + other +
             " WHERE rowid = (SELECT max(rowid) FROM " + table + ")");
      EXPECT_FALSE(verify().empty()) << table << "." << column;
      EXPECT_THROW(read_all(*open()), Error) << table << "." << column;
    }
    const Keep keep(catalog());
    // Older banks lack some facts.
    const std::string which =
        table == "facts" ? "key = 'head_dim'" : "rowid = (SELECT min(rowid) FROM " + table + ")";
    change("DELETE FROM " + table + " WHERE " + which);
    EXPECT_FALSE(verify().empty()) << "a row less in " << table;
  }
  EXPECT_TRUE(verify().empty());
}

/// Changes a catalog behind its digests.
void change_catalog(const std::filesystem::path& catalog, const std::string& sql) {
  const storage::Database database(catalog, storage::Database::Mode::kWrite);
  database.execute("PRAGMA foreign_keys = OFF");
  database.execute(sql);
}

TEST_F(BankTest, DamagedRowsAreEachNamedOnceAndKeepNoSegmentFromBeingChecked) {
  write(3, 1);
  write(3, 2);
  write(3, 3);
  const auto in_segments = [&](const std::vector<BankProblem>& problems) {
    std::vector<std::string> files;
    for (const BankProblem& problem : problems) {
      if (problem.file != catalog().string()) files.push_back(problem.file);
    }
    return files;
  };
  const std::vector<std::string> damaged{segment(2).string(), segment(3).string()};
  const std::vector<std::pair<std::string, size_t>> changes{
      {"UPDATE facts SET value = 'x' WHERE key = 'model_name'", 1},
      {"UPDATE segments SET bytes = 7 WHERE id = 1", 1},
      {"UPDATE segments SET bytes = 7", 3},
      {"UPDATE segments SET id = 1001 WHERE id = 1", 1},
      {"UPDATE segments SET file = '000001.msax' WHERE id = 1", 1},
      {"UPDATE documents SET text = 'x' WHERE id = 2", 1},
      {"UPDATE documents SET text = 'x', title = 'y' WHERE id IN (1, 4)", 2},
      {"UPDATE passages SET tokens = 77 WHERE id IN (1, 4)", 2},
      {"UPDATE passages SET document = 77, segment = 77 WHERE id = 1", 1},
      {"UPDATE passages SET tokens = 77 WHERE id = 1; UPDATE documents SET source = 'x' WHERE id = "
       "2; UPDATE facts SET value = 'x' WHERE key = 'head_dim'",
       3}};
  for (const auto& [sql, rows] : changes) {
    const Keep keep(catalog());
    change_catalog(catalog(), sql);
    const auto rows_only = verify();
    EXPECT_EQ(rows_only.size(), rows) << sql;
    EXPECT_TRUE(in_segments(rows_only).empty()) << sql;
    const Keep second(segment(2));
    const Keep third(segment(3));
    flip(segment(2), 30, 3);
    flip(segment(3), 700, 3);
    EXPECT_EQ(verify().size(), rows + 2) << sql;
    auto found = in_segments(verify());
    std::ranges::sort(found);
    EXPECT_EQ(found, damaged) << sql;
  }
  const Keep keep(catalog());
  const Keep second(segment(2));
  flip(segment(2), 30, 3);
  std::filesystem::resize_file(catalog(), 5000);
  EXPECT_EQ(in_segments(verify()), std::vector<std::string>{segment(2).string()});
  std::ofstream(catalog(), std::ios::binary) << "this is no database";
  EXPECT_EQ(in_segments(verify()), std::vector<std::string>{segment(2).string()});
}

TEST_F(BankTest, ReferencesToNothingAndLeftOverDocumentsAreFound) {
  write(3, 1);
  write(3, 2);
  for (const char* sql :
       {"DELETE FROM segments WHERE id = 1", "DELETE FROM segments WHERE id = 2",
        "DELETE FROM documents WHERE id = 6", "DELETE FROM passages WHERE document = 6"}) {
    const Keep keep(catalog());
    change_catalog(catalog(), sql);
    EXPECT_FALSE(verify().empty()) << sql;
  }
  EXPECT_TRUE(verify().empty());
}

TEST_F(BankTest, OfADamagedSegmentTheDocumentsThatAreKnownAreNamed) {
  write(3, 1);
  change_catalog(catalog(), "DELETE FROM documents WHERE id = 3");
  flip(segment(1), static_cast<int64_t>(std::filesystem::file_size(segment(1))) / 2, 3);
  const auto problems = verify();
  const auto damaged = std::ranges::find(problems, segment(1).string(), &BankProblem::file);
  ASSERT_NE(damaged, problems.end());
  EXPECT_EQ(damaged->document, "doc-1, doc-3");
}

TEST_F(BankTest, AFlippedBitInTheScalesOfKeysNamesTheDocumentsOfItsBlock) {
  BankFacts own = facts();
  own.key_type = kernels::NumberType::kInt8;
  commit(*BankWriter::open(real_file_system(), folder(), own), 3, 1);
  std::ifstream file(segment(1), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::string key = "\"data_offsets\":[";
  const size_t begin = bytes.find(key, bytes.find("\"routing_scale\"")) + key.size();
  const auto offset = static_cast<int64_t>(sizeof header + header) +
                      static_cast<int64_t>(std::stoull(bytes.substr(begin)));
  flip(segment(1), offset, 1);
  const auto problems = verify();
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].document, "doc-1, doc-3, doc-5");
  EXPECT_THROW(open()->source(), Error);
}

TEST_F(BankTest, WithoutTheFolderOfSegmentsEachIsMissingWithItsDocuments) {
  write(1, 1);
  write(1, 2);
  std::filesystem::remove_all(folder() / "segments");
  const auto problems = verify();
  ASSERT_EQ(problems.size(), 2U);
  for (int64_t n : {0, 1}) {
    EXPECT_EQ(problems[n].file, segment(n + 1).string());
    EXPECT_EQ(problems[n].offset, -1);
    EXPECT_EQ(problems[n].document.find("doc-"), 0U) << problems[n].document;
  }
}

TEST_F(BankTest, ADamagedHeaderOrTableHidesNoOtherDamageOfTheSegment) {
  BankFacts own = facts();
  own.shape.head_dim = 64;
  const RandomBatch batch = make_random_batch(
      own.shape, {.first_id = 1, .num_documents = 60, .max_chunks = 60, .seed = 3});
  BankWriter::open(real_file_system(), folder(), own)->commit(batch.documents, batch.encoded);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment(1)));
  const auto block = static_cast<int64_t>(storage::kDigestBlockBytes);
  const int64_t last = (size / block - 1) * block;
  const auto table = static_cast<int64_t>(*storage::digested_bytes_of(size));
  flip(segment(1), last + 10, 3);
  for (const int64_t other : {int64_t{20}, size - 1}) {
    flip(segment(1), other, 3);
    std::map<int64_t, std::string> found;
    for (const BankProblem& problem : verify()) found[problem.offset] = problem.document;
    EXPECT_TRUE(found.contains(other == 20 ? 0 : table));
    ASSERT_TRUE(found.contains(last));
    EXPECT_FALSE(found[last].starts_with("doc-1,")) << "only those of the block: " << found[last];
    EXPECT_TRUE(found[other == 20 ? 0 : table].starts_with("doc-1,"));
    flip(segment(1), other, 3);
  }
}

TEST_F(BankTest, MissingTruncatedSwappedAndUnknownSegmentsAreFound) {
  write(3, 1);
  write(3, 2);
  write(3, 3);
  const auto problems_of = [&] {
    EXPECT_THROW(open()->source(), Error);
    return verify();
  };
  {
    const Keep keep(segment(2));
    std::filesystem::resize_file(segment(2), std::filesystem::file_size(segment(2)) - 1);
    ASSERT_EQ(problems_of().size(), 1U);
    EXPECT_NE(problems_of()[0].document.find("doc-"), std::string::npos);
    std::filesystem::remove(segment(2));
    EXPECT_EQ(problems_of().size(), 1U);
    std::filesystem::copy_file(segment(1), segment(2));
    EXPECT_EQ(problems_of().size(), 1U);
  }
  EXPECT_TRUE(verify().empty());
  for (const char* name : {"000000.msa", "4.msa", "note.txt"}) {
    const auto path = folder() / "segments" / name;
    std::ofstream(path) << "x";
    const auto found = verify();
    ASSERT_EQ(found.size(), 1U) << name;
    EXPECT_EQ(found[0].file, path.string());
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace msa::memory
