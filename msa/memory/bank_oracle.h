#pragma once
// What a bank should hold after changes, kept in memory: what tests compare banks with.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {

/// Adds the documents of one batch to another.
inline void append(RandomBatch& all, const RandomBatch& part) {
  all.documents.insert(all.documents.end(), part.documents.begin(), part.documents.end());
  const auto join = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  join(all.encoded.num_chunks, part.encoded.num_chunks);
  for (const auto rows :
       {&EncodedDocuments::key, &EncodedDocuments::value, &EncodedDocuments::routing_key}) {
    (all.encoded.*rows).resize((part.encoded.*rows).size());
    for (size_t layer = 0; layer < (part.encoded.*rows).size(); ++layer) {
      join((all.encoded.*rows)[layer], (part.encoded.*rows)[layer]);
    }
  }
}

/// The n-th document of a batch.
inline RandomBatch document_of(const RandomBatch& batch, size_t n, const MemoryShape& shape) {
  size_t first = 0;  // passage
  for (size_t i = 0; i < n; ++i) first += batch.documents[i].passages.size();
  const size_t end = first + batch.documents[n].passages.size();
  const auto& chunks = batch.encoded.num_chunks;
  const auto begin = chunks.begin();
  const int64_t row = std::accumulate(begin, begin + static_cast<ptrdiff_t>(first), int64_t{0});
  RandomBatch one{.documents = {batch.documents[n]}, .encoded = {}};
  one.encoded.num_chunks.assign(begin + static_cast<ptrdiff_t>(first),
                                begin + static_cast<ptrdiff_t>(end));
  const int64_t count =
      std::accumulate(one.encoded.num_chunks.begin(), one.encoded.num_chunks.end(), int64_t{0});
  for (const auto rows :
       {&EncodedDocuments::key, &EncodedDocuments::value, &EncodedDocuments::routing_key}) {
    for (const std::vector<float>& layer : batch.encoded.*rows) {
      const auto from = layer.begin() + row * shape.key_dim();
      (one.encoded.*rows).emplace_back(from, from + count * shape.key_dim());
    }
  }
  return one;
}

/// Live documents by rising passage id, each a batch of its own.
class BankOracle {
 public:
  /// The document of that name with the passages from `first_id` on; the same arguments, the same
  /// document.
  static RandomBatch make(const MemoryShape& shape, const std::string& name, int64_t first_id) {
    RandomBatch one = make_random_batch(shape, {.first_id = first_id,
                                                .num_documents = 1,
                                                .max_passages = 3,
                                                .max_chunks = 5,
                                                .seed = static_cast<uint32_t>(first_id)});
    one.documents[0].name = name;
    return one;
  }

  /// One after the other, from `first_id` on.
  static std::vector<RandomBatch> make(const MemoryShape& shape, std::span<const std::string> names,
                                       int64_t first_id) {
    std::vector<RandomBatch> documents;
    for (const std::string& name : names) {
      documents.push_back(make(shape, name, first_id));
      first_id = documents.back().documents[0].passages.back().id + 1;
    }
    return documents;
  }

  static RandomBatch join(std::span<const RandomBatch> documents) {
    RandomBatch all;
    for (const RandomBatch& one : documents) append(all, one);
    return all;
  }

  bool has(const std::string& name) const {
    return std::ranges::any_of(live_, [&](const auto& one) { return name_of(one) == name; });
  }
  void put(std::span<const RandomBatch> documents) {
    for (const RandomBatch& one : documents) {
      erase(name_of(one));
      live_.push_back(one);
    }
  }
  void erase(const std::string& name) {
    std::erase_if(live_, [&](const auto& one) { return name_of(one) == name; });
  }

  const std::vector<RandomBatch>& live() const { return live_; }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const RandomBatch& one : live_) names.push_back(name_of(one));
    return names;
  }

  /// Whether the bank holds these documents with these passages and texts.
  bool is_in(const Bank& bank) const {
    size_t place = 0;
    for (const RandomBatch& one : live_) {
      const Document& document = one.documents[0];
      for (const Passage& passage : document.passages) {
        if (place >= bank.passages().size() || bank.passages()[place].id != passage.id) {
          return false;
        }
        ++place;
      }
      const auto found = bank.find(document.name);
      if (!found || found->text != document.text || found->title != document.title ||
          found->passages.size() != document.passages.size()) {
        return false;
      }
    }
    return place == bank.passages().size();
  }

  /// Compares all that the bank gives out with a new bank of the same documents, in `folder`.
  void expect_equal(const Bank& bank, const std::filesystem::path& folder) const {
    ASSERT_TRUE(is_in(bank));
    ASSERT_EQ(bank.stats().documents, static_cast<int64_t>(live_.size()));
    if (live_.empty()) return;
    std::filesystem::remove_all(folder);
    write_anew(bank.facts(), folder);
    const auto fresh = Bank::open(real_file_system(), folder);
    expect_same_words(bank, *fresh);
    expect_same_numbers(*bank.source(), *fresh->source());
    std::filesystem::remove_all(folder);
  }

  /// Compares scores and content of all documents.
  static void expect_same_numbers(const ChunkSource& source, const ChunkSource& wanted) {
    const MemoryShape& shape = source.shape();
    ASSERT_EQ(source.num_documents(), wanted.num_documents());
    std::vector<float> query(2 * shape.num_kv_heads * shape.head_dim);
    std::iota(query.begin(), query.end(), -15.0F);
    const RoutingQuery asked{
        .values = query.data(), .num_tokens = 1, .num_heads = 2 * shape.num_kv_heads, .rule = {}};
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      std::vector<float> scores(source.num_documents());
      std::vector<float> wanted_scores(scores.size());
      const auto chosen = source.route(layer, asked, 1, scores);
      const auto wanted_chosen = wanted.route(layer, asked, 1, wanted_scores);
      EXPECT_EQ(scores, wanted_scores);
      ASSERT_EQ(chosen.size(), wanted_chosen.size());
      if (!chosen.empty()) {
        EXPECT_EQ(chosen[0].document, wanted_chosen[0].document);
      }
      for (int64_t place = 0; place < source.num_documents(); ++place) {
        ASSERT_EQ(source.num_chunks(place), wanted.num_chunks(place));
        const size_t count = source.num_chunks(place) * shape.key_dim();
        std::vector<float> rows(2 * count);
        std::vector<float> wanted_rows(2 * count);
        source.fetch(layer, std::span(&place, 1), rows.data(), rows.data() + count);
        wanted.fetch(layer, std::span(&place, 1), wanted_rows.data(), wanted_rows.data() + count);
        EXPECT_EQ(rows, wanted_rows) << "place " << place;
      }
    }
  }

 private:
  static const std::string& name_of(const RandomBatch& one) { return one.documents[0].name; }

  void write_anew(const BankFacts& facts, const std::filesystem::path& folder) const {
    RandomBatch all = join(live_);
    int64_t id = 1;
    for (Document& document : all.documents) {
      for (Passage& passage : document.passages) passage.id = id++;
    }
    BankWriter::open(real_file_system(), folder, facts)->commit(all.documents, all.encoded);
  }

  static void expect_same_words(const Bank& bank, const Bank& fresh) {
    const auto documents = bank.list(0, 1'000'000);
    const auto wanted = fresh.list(0, 1'000'000);
    ASSERT_EQ(documents.size(), wanted.size());
    for (size_t n = 0; n < wanted.size(); ++n) EXPECT_EQ(documents[n].name, wanted[n].name);
    for (size_t place = 0; place < fresh.passages().size(); ++place) {
      const Passage& passage = bank.passages()[place];
      const Passage& other = fresh.passages()[place];
      EXPECT_EQ(bank.place_of(passage.id), static_cast<int64_t>(place));
      EXPECT_EQ(passage.start, other.start);
      EXPECT_EQ(passage.end, other.end);
      EXPECT_EQ(passage.tokens, other.tokens);
      const Document document = bank.document_of(passage).value();
      const Document same = fresh.document_of(other).value();
      EXPECT_EQ(document.name, same.name);
      EXPECT_EQ(document.title, same.title);
      EXPECT_EQ(document.text, same.text);
      EXPECT_EQ(document.attributes, same.attributes);
    }
  }

  std::vector<RandomBatch> live_;
};

}  // namespace msa::memory
