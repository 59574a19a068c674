// Commits small batches to a bank without end, and prints a document's number once it is
// acknowledged.

#include <cstdio>
#include <random>

#include "msa/base/error.h"
#include "msa/memory/bank.h"

int main(int argc, char** argv) {
  using namespace msa;
  if (argc != 3) return 2;
  const memory::MemoryShape shape{
      .num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4};
  const memory::BankFacts facts{.model_fingerprint = "m",
                                .tokenizer_fingerprint = "t",
                                .model_name = "crash",
                                .shape = shape,
                                .max_passage_tokens = 100};
  std::mt19937 random(static_cast<uint32_t>(std::stoul(argv[2])));
  try {
    auto writer = memory::BankWriter::open(real_file_system(), argv[1], facts);
    for (;;) {
      std::vector<memory::Document> documents;
      memory::EncodedDocuments encoded;
      encoded.key.resize(2);
      encoded.value.resize(2);
      encoded.routing_key.resize(2);
      const int64_t count = 1 + static_cast<int64_t>(random() % 5);
      for (int64_t id = writer->next_passage_id(); count > static_cast<int64_t>(documents.size());
           ++id) {
        const int64_t chunks = 1 + static_cast<int64_t>(random() % 40);
        memory::Document document{.row = 0,
                                  .name = std::to_string(id),
                                  .title = "",
                                  .text = "text " + std::to_string(id),
                                  .attributes = "{}",
                                  .source = "",
                                  .passages = {}};
        document.passages.push_back({.id = id,
                                     .start = 0,
                                     .end = static_cast<int64_t>(document.text.size()),
                                     .tokens = chunks * 4,
                                     .chunks = chunks});
        documents.push_back(document);
        encoded.num_chunks.push_back(chunks);
        for (int layer = 0; layer < 2; ++layer) {
          for (auto* rows :
               {&encoded.key[layer], &encoded.value[layer], &encoded.routing_key[layer]}) {
            rows->insert(rows->end(), chunks * shape.key_dim(), static_cast<float>(id));
          }
        }
      }
      const int64_t last = documents.back().passages.back().id;
      writer->commit(documents, encoded);
      std::printf("%lld\n", static_cast<long long>(last));
      std::fflush(stdout);
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
