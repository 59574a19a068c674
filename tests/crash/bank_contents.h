#pragma once
// What a bank holds, as one value that can be compared.

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/memory/bank.h"
#include "msa/memory/random_batch.h"
#include "msa/storage/digest.h"

namespace msa::crash {

/// Documents by name, each as a digest of all that was stored of it: text, attributes, passages and
/// their keys and values. A folder that is no bank yet is not the same as an empty bank.
struct BankContents {
  bool is_there = false;
  std::map<std::string, std::string> documents;

  bool operator==(const BankContents&) const = default;
};

/// What the folders of a disk hold.
struct DiskContents {
  BankContents bank;
  std::map<std::string, BankContents> copies;  // of the bank, by the name of their folder

  bool operator==(const DiskContents&) const = default;
};

/// Gathers a document's digest.
class DocumentDigest {
 public:
  explicit DocumentDigest(const memory::Document& document) {
    for (const auto& text : {document.title, document.text, document.attributes, document.source}) {
      add(static_cast<int64_t>(text.size()));
      digester_.add(text);
    }
  }
  void add(const memory::Passage& passage) {
    for (const int64_t n :
         {passage.id, passage.start, passage.end, passage.tokens, passage.chunks}) {
      add(n);
    }
  }
  void add(std::span<const float> rows) { digester_.add(std::as_bytes(rows)); }
  std::string finish() const { return storage::to_hex(digester_.finish()); }

 private:
  void add(int64_t number) { digester_.add(std::as_bytes(std::span(&number, 1))); }

  storage::Digester digester_;
};

/// Adds what a commit of the batch makes durable in a bank whose content is stored as float32.
inline void add_batch(BankContents& contents, const memory::RandomBatch& batch, int64_t key_dim) {
  size_t row = 0;
  for (const memory::Document& document : batch.documents) {
    DocumentDigest digest(document);
    for (const memory::Passage& passage : document.passages) {
      const auto count = static_cast<size_t>(passage.chunks * key_dim);
      digest.add(passage);
      for (size_t layer = 0; layer < batch.encoded.key.size(); ++layer) {
        digest.add(std::span(batch.encoded.key[layer]).subspan(row, count));
        digest.add(std::span(batch.encoded.value[layer]).subspan(row, count));
      }
      row += count;
    }
    contents.documents[document.name] = digest.finish();
  }
}

/// Reads all of a bank. Throws what Bank and its source throw.
inline BankContents contents_of(const memory::Bank& bank) {
  BankContents contents{.is_there = true, .documents = {}};
  const auto source = bank.source();
  const memory::MemoryShape& shape = bank.facts().shape;
  const auto num_passages = static_cast<int64_t>(bank.passages().size());
  for (int64_t place = 0; place < num_passages;) {
    const memory::Document document = bank.document_of(bank.passages()[place]).value();
    DocumentDigest digest(document);
    const int64_t row = document.row;
    for (; place < num_passages && bank.passages()[place].document == row; ++place) {
      const memory::Passage& passage = bank.passages()[place];
      digest.add(passage);
      std::vector<float> key(passage.chunks * shape.key_dim());
      std::vector<float> value(key.size());
      for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
        source->fetch(layer, std::span(&place, 1), key.data(), value.data());
        digest.add(key);
        digest.add(value);
      }
    }
    contents.documents[document.name] = digest.finish();
  }
  return contents;
}

}  // namespace msa::crash
