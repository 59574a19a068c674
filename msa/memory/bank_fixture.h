#pragma once
// A bank in a folder of its own that is gone after the test.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {

class BankTest : public testing::Test {
 protected:
  static constexpr MemoryShape kShape{
      .num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4};

  static BankFacts facts() {
    return {.model_fingerprint = "m",
            .tokenizer_fingerprint = "t",
            .model_name = "test",
            .shape = kShape,
            .max_passage_tokens = 100};
  }

  BankTest() {
    folder_ = std::filesystem::path(testing::TempDir()) / ("msa_bank_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
  }
  ~BankTest() override { std::filesystem::remove_all(folder_); }

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path segment(int64_t id) const {
    return folder_ / "segments" / segment_file_name(id);
  }
  std::filesystem::path catalog() const { return folder_ / Catalog::kFile; }

  std::unique_ptr<BankWriter> open_writer(FileSystem& files = real_file_system()) const {
    return BankWriter::open(files, folder_, facts());
  }
  std::unique_ptr<Bank> open() const { return Bank::open(real_file_system(), folder_); }
  std::vector<BankProblem> verify() const { return verify_bank(real_file_system(), folder_); }

  /// The batch that `writer` takes next.
  static RandomBatch next_batch(const BankWriter& writer, int64_t documents, uint32_t seed) {
    return make_random_batch(kShape, {.first_id = writer.next_passage_id(),
                                      .num_documents = documents,
                                      .max_passages = 2,
                                      .seed = seed});
  }
  static void commit(BankWriter& writer, int64_t documents, uint32_t seed) {
    const RandomBatch batch = next_batch(writer, documents, seed);
    writer.commit(batch.documents, batch.encoded);
  }
  void write(int64_t documents, uint32_t seed) const { commit(*open_writer(), documents, seed); }

 private:
  std::filesystem::path folder_;
};

}  // namespace msa::memory
