#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <set>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/file_damage.h"

namespace msa::memory {
namespace {

using kernels::NumberType;

/// What a reader sees of a bank: a part of it, what comes later, what is not damaged.
class BankViewTest : public BankTest {
 protected:
  void put(BankWriter& writer, const std::vector<std::string>& names) {
    const auto documents = BankOracle::make(kShape, names, writer.next_passage_id());
    put(writer, documents);
  }
  void put(BankWriter& writer, std::span<const RandomBatch> documents) {
    const RandomBatch batch = BankOracle::join(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
    oracle_.put(documents);
  }
  std::unique_ptr<Bank> open_where(const std::vector<std::string>& conditions) const {
    return Bank::open(real_file_system(), folder(), DocumentFilter(conditions));
  }
  std::filesystem::path fresh() const { return folder().string() + ".fresh"; }

  BankOracle oracle_;
};

TEST_F(BankViewTest, ThroughAFilterABankIsOneOfTheDocumentsThatCount) {
  const auto writer = open_writer();
  BankOracle even;
  for (int batch = 0; batch < 3; ++batch) {
    std::vector<std::string> names;
    for (int n = 0; n < 6; ++n) names.push_back("b" + std::to_string(batch) + std::to_string(n));
    auto documents = BankOracle::make(kShape, names, writer->next_passage_id());
    for (size_t n = 0; n < documents.size(); ++n) {
      const bool is_even = n % 2 == 0 && batch != 1;  // of one segment none
      documents[n].documents[0].attributes =
          is_even ? R"({"kind":["even","number"]})" : R"({"kind":"odd"})";
      if (is_even) even.put(std::span(&documents[n], 1));
    }
    put(*writer, documents);
  }
  EXPECT_EQ(open()->format(), 1) << "nothing is deleted";
  const auto view = open_where({"kind=even"});
  EXPECT_EQ(view->stats().documents, 6);
  EXPECT_FALSE(view->find("b01"));
  EXPECT_TRUE(view->find("b00"));
  EXPECT_FALSE(view->place_of(oracle_.live()[1].documents[0].passages[0].id));
  EXPECT_EQ(view->list(4, 10).size(), 2U);
  even.expect_equal(*view, fresh());
  EXPECT_TRUE(view->is_current());
  oracle_.expect_equal(*open_where({"kind!=none"}), fresh());

  EXPECT_EQ(open_where({"kind=none"})->stats().documents, 0);
  EXPECT_EQ(open_where({"kind=none"})->source()->num_documents(), 0);

  // And so is what is forgotten through it.
  EXPECT_EQ(writer->forget_where(DocumentFilter({"kind=none"})).documents, 0);
  EXPECT_EQ(writer->forget_where(DocumentFilter({"kind=odd"})).documents, 12);
  EXPECT_FALSE(view->is_current());
  even.expect_equal(*open(), fresh());
  EXPECT_THROW(writer->forget_where(DocumentFilter()), Error);
}

TEST_F(BankViewTest, ADamagedRowIsNoMatterOfTaste) {
  write(5, 1);
  {
    const storage::Database database(catalog(), storage::Database::Mode::kWrite);
    database.execute("UPDATE documents SET attributes = '{\"n\":7}' WHERE id = 2");
  }
  EXPECT_THROW(open_where({"n=7"}), Error);
  const auto rest = Bank::open_undamaged(real_file_system(), folder(), DocumentFilter({"n<=3"}));
  EXPECT_EQ(rest->stats().documents, 3);
}

class GoingOn : public BankViewTest, public testing::WithParamInterface<NumberType> {};

INSTANTIATE_TEST_SUITE_P(Types, GoingOn,
                         testing::Values(NumberType::kFloat32, NumberType::kBFloat16,
                                         NumberType::kInt8),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST_P(GoingOn, ASourceMadeOfAnOlderOneIsThatOfTheBank) {
  constexpr uint32_t kSeed = 11;
  std::mt19937 random(kSeed);
  BankFacts own = facts();
  own.key_type = GetParam();
  const auto writer =
      BankWriter::open(real_file_system(), folder(), own, {.max_segment_bytes = 20'000});
  std::unique_ptr<ChunkSource> source;
  for (int step = 0; step < 60; ++step) {
    const auto name = [&] { return "n" + std::to_string(random() % 30); };
    switch (random() % 5) {
      case 0:
        writer->forget(std::vector{name(), name()});
        break;
      case 1:
        writer->compact();
        break;
      default: {
        std::set<std::string> names{name(), name(), name()};
        put(*writer, {names.begin(), names.end()});
      }
    }
    if (random() % 3 == 0) continue;
    SCOPED_TRACE("step " + std::to_string(step) + ", seed " + std::to_string(kSeed));
    const auto bank = open();
    source = bank->source(std::move(source));
    BankOracle::expect_same_numbers(*source, *bank->source());
    if (HasFailure()) return;
  }
}

TEST_F(BankViewTest, OnlyNewSegmentsAreReadToGoOn) {
  const auto writer = open_writer();
  put(*writer, {"a", "b", "c"});
  put(*writer, {"d"});
  std::mutex mutex;  // keys are read by several threads
  std::map<std::filesystem::path, int> reads;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    const std::lock_guard lock(mutex);
    if (call == "read") ++reads[path];
  });
  const auto bank = Bank::open(files, folder());
  auto source = bank->source();
  const int to_load = reads[segment(1)];
  put(*writer, {"b", "e"});
  ASSERT_FALSE(bank->is_current());
  const auto later = Bank::open(files, folder());
  reads.clear();
  source = later->source(std::move(source));
  const int again = reads[segment(1)];
  EXPECT_LT(again, to_load) << "no keys, only the tables";
  EXPECT_EQ(reads[segment(3)], to_load);
  oracle_.expect_equal(*later, fresh());
  BankOracle::expect_same_numbers(*source, *open()->source());
}

TEST_F(BankViewTest, ABankOfOtherKeysIsNotTakenForAnOlderState) {
  put(*open_writer(), {"a", "b"});
  auto source = open()->source();
  std::filesystem::remove_all(folder());
  BankFacts own = facts();
  own.key_type = NumberType::kInt8;
  own.shape.num_layers = 1;
  const RandomBatch batch = make_random_batch(own.shape, {.num_documents = 3, .seed = 8});
  BankWriter::open(real_file_system(), folder(), own)->commit(batch.documents, batch.encoded);
  const auto bank = open();
  source = bank->source(std::move(source));
  BankOracle::expect_same_numbers(*source, *bank->source());
}

TEST_F(BankViewTest, WithoutDamageAllOfItIsUndamaged) {
  EXPECT_THROW(Bank::open_undamaged(real_file_system(), folder()), Error);
  const auto writer = open_writer();
  put(*writer, {"a", "b"});
  put(*writer, {"a", "c"});
  const auto bank = Bank::open_undamaged(real_file_system(), folder());
  EXPECT_TRUE(bank->problems().empty());
  EXPECT_TRUE(bank->is_current());
  oracle_.expect_equal(*bank, fresh());
  put(*writer, {"b"});
  EXPECT_FALSE(bank->is_current());
  bank->source();  // its files stay
}

/// Whether the problems name the document.
bool is_named(const std::vector<BankProblem>& problems, const std::string& name) {
  return std::ranges::any_of(problems, [&](const BankProblem& problem) {
    return (", " + problem.document + ",").find(", " + name + ",") != std::string::npos;
  });
}

/// All that a bank gives out of each passage, by its id.
std::map<int64_t, std::pair<std::string, std::vector<float>>> passages_of(const Bank& bank) {
  std::map<int64_t, std::pair<std::string, std::vector<float>>> all;
  const auto source = bank.source();
  const MemoryShape& shape = source->shape();
  std::vector<float> query(shape.num_kv_heads * shape.head_dim);
  std::iota(query.begin(), query.end(), -7.0F);
  std::vector<std::vector<float>> scores(shape.num_layers);
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    scores[layer].resize(source->num_documents());
    source->route(
        layer,
        {.values = query.data(), .num_tokens = 1, .num_heads = shape.num_kv_heads, .rule = {}}, 1,
        scores[layer]);
  }
  for (int64_t place = 0; place < source->num_documents(); ++place) {
    const Passage& passage = bank.passages()[place];
    auto& [words, numbers] = all[passage.id];
    const Document document = bank.document_of(passage).value();
    EXPECT_EQ(bank.find(document.name)->text, document.text);
    words = document.name + '|' + document.title + '|' + document.text + '|' + document.attributes +
            '|' + document.source;
    for (const int64_t x : {passage.start, passage.end, passage.tokens, passage.chunks}) {
      words += '|' + std::to_string(x);
    }
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      const size_t count = source->num_chunks(place) * shape.key_dim();
      std::vector<float> rows(2 * count);
      source->fetch(layer, std::span(&place, 1), rows.data(), rows.data() + count);
      numbers.insert(numbers.end(), rows.begin(), rows.end());
      numbers.push_back(scores[layer][place]);
    }
  }
  return all;
}

TEST_F(BankViewTest, WhateverBitFlipsTheRestOfTheBankIsUsedAndRight) {
  constexpr uint32_t kSeed = 12;
  constexpr int kFlips = 400;
  std::mt19937 random(kSeed);
  auto writer = open_writer();
  for (int n = 0; n < 6; ++n) {
    put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n), "c" + std::to_string(n)});
  }
  writer->forget(std::vector<std::string>{"b2"});
  oracle_.erase("b2");
  writer.reset();
  const auto intact = passages_of(*open());
  int with_loss = 0;
  int unusable = 0;
  for (int n = 0; n < kFlips; ++n) {
    const bool is_catalog = n % 2 == 0;
    const auto path = is_catalog ? catalog() : segment(1 + n % 6);
    const Keep keep(path);
    const auto offset = static_cast<int64_t>(random() % std::filesystem::file_size(path));
    flip(path, offset, random() % 8);
    SCOPED_TRACE(path.string() + " byte " + std::to_string(offset));
    std::unique_ptr<Bank> bank;
    try {
      bank = Bank::open_undamaged(real_file_system(), folder());
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kCorruption);
      ASSERT_TRUE(is_catalog) << error.what();
      ++unusable;
      continue;
    }
    const auto rest = passages_of(*bank);
    for (const auto& [id, passage] : rest) ASSERT_EQ(passage, intact.at(id)) << id;
    if (rest.size() == intact.size()) continue;
    ++with_loss;
    ASSERT_FALSE(bank->problems().empty());
    if (is_catalog) continue;
    // The documents of the block, which here is the segment, and no others.
    ASSERT_GE(bank->stats().documents, static_cast<int64_t>(oracle_.live().size()) - 3);
    for (const RandomBatch& one : oracle_.live()) {
      const bool is_there = bank->place_of(one.documents[0].passages[0].id).has_value();
      ASSERT_NE(is_there, is_named(bank->problems(), one.documents[0].name));
    }
  }
  EXPECT_GE(with_loss, kFlips / 2);
  EXPECT_LE(unusable, kFlips / 6);
  std::cout << with_loss << " of " << kFlips << " flips took passages, " << unusable
            << " the whole catalog; seed " << kSeed << "\n";
}

TEST_F(BankViewTest, AMissingSegmentTakesItsDocumentsAlone) {
  const auto writer = open_writer();
  put(*writer, {"a", "b"});
  put(*writer, {"c"});
  std::filesystem::remove(segment(1));
  EXPECT_THROW(open()->source(), Error);
  const auto bank = Bank::open_undamaged(real_file_system(), folder());
  EXPECT_TRUE(is_named(bank->problems(), "a"));
  oracle_.erase("a");
  oracle_.erase("b");
  oracle_.expect_equal(*bank, fresh());
}

}  // namespace
}  // namespace msa::memory
