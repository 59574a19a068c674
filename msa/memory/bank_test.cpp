#include "msa/memory/bank.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <random>
#include <thread>

#include "msa/base/descriptor_limit.h"
#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/kernels/content_rows.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/memory_source.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

/// K and V of one passage in one layer.
struct Content {
  std::vector<float> key;
  std::vector<float> value;
  bool operator==(const Content&) const = default;
};

Content content_of(const ChunkSource& source, int64_t layer, int64_t place) {
  Content content;
  content.key.resize(source.num_chunks(place) * source.shape().key_dim());
  content.value.resize(content.key.size());
  source.fetch(layer, std::span(&place, 1), content.key.data(), content.value.data());
  return content;
}

/// Rows of K or V as they are after they were stored.
std::vector<float> as_stored(const std::vector<float>& rows, const BankFacts& facts) {
  const auto num_rows = static_cast<int64_t>(rows.size()) / facts.shape.key_dim();
  std::vector<std::byte> stored(num_rows * content_layout(facts).row_bytes);
  kernels::quantize_content({.row = rows.data(),
                             .num_rows = num_rows,
                             .num_kv_heads = facts.shape.num_kv_heads,
                             .head_dim = facts.shape.head_dim,
                             .type = facts.content_type,
                             .out = stored.data()});
  std::vector<float> restored(rows.size());
  kernels::dequantize_content({.row = stored.data(),
                               .num_rows = num_rows,
                               .num_kv_heads = facts.shape.num_kv_heads,
                               .head_dim = facts.shape.head_dim,
                               .type = facts.content_type,
                               .out = restored.data()});
  return restored;
}

/// Everything that a bank gives out is what the batches say, `from` places on.
void expect_holds(const Bank& bank, const ChunkSource& source, const RandomBatch& batch,
                  int64_t from) {
  const MemorySource wanted(bank.facts().shape, batch.encoded, bank.facts().key_type);
  int64_t n = 0;
  for (const Document& document : batch.documents) {
    const auto found = bank.find(document.name);
    ASSERT_TRUE(found) << document.name;
    EXPECT_EQ(found->title, document.title);
    EXPECT_EQ(found->text, document.text);
    EXPECT_EQ(found->attributes, document.attributes);
    EXPECT_EQ(found->source, document.source);
    ASSERT_EQ(found->passages.size(), document.passages.size());
    for (const Passage& passage : document.passages) {
      const int64_t place = from + n;
      ASSERT_EQ(bank.place_of(passage.id), place);
      EXPECT_EQ(bank.passages()[place].start, passage.start);
      EXPECT_EQ(bank.passages()[place].end, passage.end);
      EXPECT_EQ(bank.passages()[place].tokens, passage.tokens);
      EXPECT_EQ(bank.document_of(bank.passages()[place])->name, document.name);
      for (int64_t layer = 0; layer < bank.facts().shape.num_layers; ++layer) {
        Content content = content_of(wanted, layer, n);
        for (auto* rows : {&content.key, &content.value}) *rows = as_stored(*rows, bank.facts());
        EXPECT_EQ(content_of(source, layer, place), content) << document.name;
      }
      ++n;
    }
  }
}

class BankOfTypes
    : public BankTest,
      public testing::WithParamInterface<std::pair<kernels::NumberType, kernels::ContentType>> {};

TEST_P(BankOfTypes, GivesBackWhatWasCommittedAcrossSegments) {
  BankFacts own = facts();
  own.key_type = GetParam().first;
  own.content_type = GetParam().second;
  std::vector<RandomBatch> batches;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    const auto writer = BankWriter::open(real_file_system(), folder(), own);
    batches.push_back(next_batch(*writer, 4 + seed, seed));
    writer->commit(batches.back().documents, batches.back().encoded);
  }
  const auto bank = open();
  const auto source = bank->source();
  EXPECT_EQ(bank->stats().documents, 15);
  EXPECT_EQ(bank->stats().segments, 3);
  EXPECT_EQ(bank->stats().passages, source->num_documents());
  int64_t from = 0;
  for (const RandomBatch& batch : batches) {
    expect_holds(*bank, *source, batch, from);
    from += static_cast<int64_t>(batch.encoded.num_chunks.size());
  }
  EXPECT_EQ(from, source->num_documents());
  EXPECT_TRUE(verify().empty());

  // Routed over three segments as over one memory in RAM.
  EncodedDocuments all;
  for (auto* layers : {&all.key, &all.value, &all.routing_key}) layers->resize(kShape.num_layers);
  for (const RandomBatch& batch : batches) {
    const EncodedDocuments& part = batch.encoded;
    all.num_chunks.insert(all.num_chunks.end(), part.num_chunks.begin(), part.num_chunks.end());
    for (int64_t layer = 0; layer < kShape.num_layers; ++layer) {
      for (auto rows :
           {&EncodedDocuments::key, &EncodedDocuments::value, &EncodedDocuments::routing_key}) {
        auto& to = (all.*rows)[layer];
        to.insert(to.end(), (part.*rows)[layer].begin(), (part.*rows)[layer].end());
      }
    }
  }
  const MemorySource wanted(kShape, std::move(all), own.key_type);
  std::vector<float> query(3 * 4 * kShape.head_dim);
  std::iota(query.begin(), query.end(), -40.0F);
  for (int64_t layer = 0; layer < kShape.num_layers; ++layer) {
    for (const auto head : {HeadReduce::kMean, HeadReduce::kMax}) {
      const RoutingQuery asked{
          .values = query.data(), .num_tokens = 3, .num_heads = 4, .rule = {.head = head}};
      std::vector<float> scores(source->num_documents());
      std::vector<float> wanted_scores(scores.size());
      const auto chosen = source->route(layer, asked, 5, scores);
      const auto wanted_chosen = wanted.route(layer, asked, 5, wanted_scores);
      EXPECT_EQ(scores, wanted_scores);
      for (size_t i = 0; i < 5; ++i) EXPECT_EQ(chosen[i].document, wanted_chosen[i].document);
    }
  }
}

using kernels::ContentType;
using kernels::NumberType;
INSTANTIATE_TEST_SUITE_P(Types, BankOfTypes,
                         testing::Values(std::pair(NumberType::kFloat32, ContentType::kFloat32),
                                         std::pair(NumberType::kBFloat16, ContentType::kBFloat16),
                                         std::pair(NumberType::kInt8, ContentType::kFloat32),
                                         std::pair(NumberType::kBFloat16, ContentType::kInt8),
                                         std::pair(NumberType::kInt8, ContentType::kInt4)),
                         [](const auto& parameter) {
                           return std::string(name_of(parameter.param.first)) + "_keys_" +
                                  std::string(name_of(parameter.param.second)) + "_content";
                         });

TEST_F(BankTest, ListsDocumentsInPagesWithoutTexts) {
  write(7, 1);
  const auto bank = open();
  std::vector<std::string> names;
  for (int64_t offset = 0; offset < 9; offset += 3) {
    for (const Document& document : bank->list(offset, 3)) {
      EXPECT_TRUE(document.text.empty());
      EXPECT_FALSE(document.passages.empty());
      names.push_back(document.name);
    }
  }
  ASSERT_EQ(names.size(), 7U);
  EXPECT_EQ(names.front(), "doc-1");
  EXPECT_FALSE(bank->find("no such name"));
  EXPECT_FALSE(bank->place_of(0));
  EXPECT_FALSE(bank->place_of(1000));
}

TEST_F(BankTest, ReadersKeepTheirViewWhileAWriterGoesOn) {
  write(3, 1);
  const auto before = open();
  const auto passages = static_cast<int64_t>(before->passages().size());
  const auto source = before->source();
  const auto writer = open_writer();
  for (uint32_t seed = 2; seed < 30; ++seed) {
    commit(*writer, 4, seed);
    EXPECT_EQ(static_cast<int64_t>(open()->source()->num_documents()),
              writer->next_passage_id() - 1);
    EXPECT_TRUE(verify().empty());
  }
  EXPECT_EQ(source->num_documents(), passages);
  EXPECT_EQ(before->source()->num_documents(), passages);
  const BankStats stats = before->stats();
  EXPECT_EQ(stats.documents, 3);
  EXPECT_EQ(stats.passages, passages);
  EXPECT_EQ(stats.segments, 1);
  EXPECT_EQ(before->list(0, 100).size(), 3U);
  const auto later = open();
  EXPECT_EQ(later->stats().documents, 3 + 28 * 4);
  for (const Document& document : later->list(0, 1000)) {
    EXPECT_EQ(before->find(document.name).has_value(),
              document.passages.front().id <= before->passages().back().id)
        << document.name;
  }
}

TEST_F(BankTest, ABankOfManySegmentsNeedsFewDescriptors) {
  constexpr uint32_t kSegments = 200;
  std::vector<RandomBatch> batches;
  {
    const auto writer = open_writer();
    for (uint32_t seed = 0; seed < kSegments; ++seed) {
      batches.push_back(next_batch(*writer, 1, seed));
      writer->commit(batches.back().documents, batches.back().encoded);
    }
  }
  const DescriptorLimit limit(64);
  const auto bank = open();
  const auto source = bank->source();
  for (int round = 0; round < 2; ++round) {
    int64_t from = 0;
    for (const RandomBatch& batch : batches) {
      expect_holds(*bank, *source, batch, from);
      from += static_cast<int64_t>(batch.encoded.num_chunks.size());
    }
    ASSERT_EQ(from, source->num_documents());
  }
  EXPECT_TRUE(verify().empty());
  // A segment that changes while its file is closed.
  std::filesystem::resize_file(segment(1), std::filesystem::file_size(segment(1)) / 2);
  std::filesystem::copy_file(segment(5), segment(2),
                             std::filesystem::copy_options::overwrite_existing);
  for (const int64_t id : {1, 2}) {
    const auto damaged = std::ranges::find(bank->passages(), id, &Passage::segment);
    EXPECT_THROW(content_of(*source, 0, damaged - bank->passages().begin()), Error) << id;
  }
}

TEST_F(BankTest, ManyThreadsFetchFromManySegmentsAtOnce) {
  {
    const auto writer = open_writer();
    for (uint32_t seed = 0; seed < 60; ++seed) commit(*writer, 1, seed);
  }
  const DescriptorLimit limit(64);  // files are closed and opened again
  const auto source = open()->source();
  std::vector<Content> wanted;
  for (int64_t place = 0; place < source->num_documents(); ++place) {
    wanted.push_back(content_of(*source, 1, place));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int round = 0; round < 300; ++round) {
        const auto place = static_cast<int64_t>(random() % wanted.size());
        wrong += content_of(*source, 1, place) != wanted[place];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(BankTest, ACatalogWithOtherTablesIsRefused) {
  for (const char* change :
       {"CREATE TABLE more (x)", "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON passages BEGIN DELETE FROM documents; END",
        "DROP INDEX passages_by_document", "ALTER TABLE documents ADD COLUMN x TEXT",
        // Would never end.
        "DROP TABLE facts; CREATE VIEW facts AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT "
        "n + 1 FROM c) SELECT n AS key, n AS value, n AS digest FROM c WHERE n < 0"}) {
    std::filesystem::remove_all(folder());
    write(1, 1);
    storage::Database(catalog(), storage::Database::Mode::kWrite).execute(change);
    EXPECT_THROW(open(), Error) << change;
    EXPECT_THROW(open_writer(), Error) << change;
    EXPECT_FALSE(verify().empty()) << change;
  }
}

TEST_F(BankTest, WhatIsNoBankIsNotFoundAndNotMade) {
  for (const char* part : {"", "absent"}) {
    try {
      Bank::open(real_file_system(), folder() / part);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    }
    EXPECT_THROW(verify_bank(real_file_system(), folder() / part), Error);
  }
  EXPECT_FALSE(std::filesystem::exists(folder()));
}

/// A bank that was recorded: three documents of seed 1, then two of seed 2.
class RecordedBank : public BankTest {
 protected:
  void expect_read(const std::string& name, ContentType content_type) const {
    SCOPED_TRACE(name);
    // The test may not write beside the recorded files.
    std::filesystem::remove_all(folder());
    std::filesystem::copy(source_folder() / "tests/data" / name, folder(),
                          std::filesystem::copy_options::recursive);
    EXPECT_TRUE(verify().empty());
    const auto bank = open();
    EXPECT_EQ(bank->facts().model_name, "test");
    EXPECT_EQ(bank->facts().content_type, content_type);
    const RandomBatch first = make_random_batch(
        kShape, {.first_id = 1, .num_documents = 3, .max_passages = 2, .seed = 1});
    const RandomBatch second =
        make_random_batch(kShape, {.first_id = first.documents.back().passages.back().id + 1,
                                   .num_documents = 2,
                                   .max_passages = 2,
                                   .seed = 2});
    const auto source = bank->source();
    expect_holds(*bank, *source, first, 0);
    expect_holds(*bank, *source, second, static_cast<int64_t>(first.encoded.num_chunks.size()));
    EXPECT_NO_THROW(BankWriter::open(real_file_system(), folder(), bank->facts()));
  }
};

TEST_F(RecordedBank, OfFormatOneIsReadForEver) {
  expect_read("bank_format_1", ContentType::kBFloat16);
}

/// As the two above, merged; then two documents of seed 3, the first in place of doc-3, and doc-7
/// deleted.
TEST_F(RecordedBank, OfFormatThreeIsReadForEver) {
  std::filesystem::copy(source_folder() / "tests/data/bank_format_3", folder(),
                        std::filesystem::copy_options::recursive);
  BankOracle oracle;
  int64_t first_id = 1;
  for (const auto& [documents, seed] : {std::pair(3, 1U), std::pair(2, 2U), std::pair(2, 3U)}) {
    RandomBatch batch = make_random_batch(
        kShape,
        {.first_id = first_id, .num_documents = documents, .max_passages = 2, .seed = seed});
    first_id = batch.documents.back().passages.back().id + 1;
    if (seed == 3) batch.documents[0].name = "doc-3";
    for (size_t n = 0; n < batch.documents.size(); ++n) {
      const RandomBatch one = document_of(batch, n, kShape);
      oracle.put(std::span(&one, 1));
    }
  }
  oracle.erase("doc-7");
  EXPECT_TRUE(verify().empty());
  EXPECT_EQ(open()->format(), 3);
  EXPECT_GT(open()->stats().dead_bytes, 0);
  EXPECT_EQ(open()->stats().documents, 5);
  oracle.expect_equal(*open(), folder().string() + ".fresh");
  BankWriter::open_existing(real_file_system(), folder())->compact(true);
  oracle.expect_equal(*open(), folder().string() + ".fresh");
}

TEST_F(RecordedBank, OfFormatTwoIsReadForEver) {
  expect_read("bank_format_2_int8", ContentType::kInt8);
  expect_read("bank_format_2_int4", ContentType::kInt4);
}

}  // namespace
}  // namespace msa::memory
