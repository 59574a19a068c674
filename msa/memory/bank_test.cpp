#include "msa/memory/bank.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <thread>

#include "msa/base/error.h"
#include "msa/memory/memory_source.h"

namespace msa::memory {
namespace {

constexpr MemoryShape kShape{.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4};

BankFacts facts() {
  return {.model_fingerprint = "m",
          .tokenizer_fingerprint = "t",
          .model_name = "test",
          .shape = kShape,
          .max_passage_tokens = 100};
}

class BankFolder {
 public:
  explicit BankFolder(const std::string& name)
      : path_(std::filesystem::path(testing::TempDir()) / ("msa_bank_" + name)) {
    std::filesystem::remove_all(path_);
  }
  ~BankFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Batch {
  std::vector<Document> documents;
  EncodedDocuments encoded;
};

/// Documents of one passage each, with random chunks.
Batch make_batch(int64_t first_id, int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Batch batch;
  batch.encoded.key.resize(kShape.num_layers);
  batch.encoded.value.resize(kShape.num_layers);
  batch.encoded.routing_key.resize(kShape.num_layers);
  for (int64_t id = first_id; id < first_id + count; ++id) {
    const int64_t chunks = 1 + static_cast<int64_t>(random() % 3);
    const std::string text = "text of document " + std::to_string(id);
    Document document{.row = 0,
                      .name = "doc-" + std::to_string(id),
                      .title = "Title",
                      .text = text,
                      .attributes = "{}",
                      .source = "test",
                      .passages = {}};
    document.passages.push_back({.id = id,
                                 .start = 0,
                                 .end = static_cast<int64_t>(text.size()),
                                 .tokens = chunks * 4,
                                 .chunks = chunks});
    batch.documents.push_back(document);
    batch.encoded.num_chunks.push_back(chunks);
    for (int64_t layer = 0; layer < kShape.num_layers; ++layer) {
      for (auto* rows : {&batch.encoded.key[layer], &batch.encoded.value[layer],
                         &batch.encoded.routing_key[layer]}) {
        for (int64_t i = 0; i < chunks * kShape.key_dim(); ++i) rows->push_back(normal(random));
      }
    }
  }
  return batch;
}

void write(const std::filesystem::path& path, const BankFacts& facts, int64_t count,
           uint32_t seed) {
  auto writer = BankWriter::open(real_file_system(), path, facts);
  Batch batch = make_batch(writer->next_passage_id(), count, seed);
  writer->commit(batch.documents, batch.encoded);
}

TEST(Bank, GivesBackWhatWasCommittedAcrossSegments) {
  const BankFolder folder("roundtrip");
  for (const auto type : {kernels::NumberType::kFloat32, kernels::NumberType::kBFloat16,
                          kernels::NumberType::kInt8}) {
    std::filesystem::remove_all(folder.path());
    BankFacts own = facts();
    own.key_type = type;
    own.content_type = kernels::NumberType::kFloat32;
    write(folder.path(), own, 5, 1);
    write(folder.path(), own, 7, 2);
    const auto bank = Bank::open(real_file_system(), folder.path());
    EXPECT_EQ(bank->stats().documents, 12);
    EXPECT_EQ(bank->stats().segments, 2);
    const auto source = bank->source();
    ASSERT_EQ(source->num_documents(), 12);
    // The second batch again, in RAM: equal choice, equal content.
    const Batch second = make_batch(6, 7, 2);
    const MemorySource wanted(kShape, second.encoded, type);
    std::vector<float> query(3 * 4 * kShape.head_dim);
    std::mt19937 random(3);
    for (float& value : query) value = static_cast<float>(random() % 100) / 100 - 0.5F;
    for (int64_t layer = 0; layer < kShape.num_layers; ++layer) {
      std::vector<float> scores(12);
      source->route(layer, {.values = query.data(), .num_tokens = 3, .num_heads = 4, .rule = {}},
                    12, scores);
      std::vector<float> expected(7);
      wanted.route(layer, {.values = query.data(), .num_tokens = 3, .num_heads = 4, .rule = {}}, 7,
                   expected);
      for (int64_t n = 0; n < 7; ++n) {
        EXPECT_NEAR(scores[5 + n], expected[n], 2e-3);
        std::vector<float> key(source->num_chunks(5 + n) * kShape.key_dim());
        std::vector<float> value(key.size());
        std::vector<float> wanted_key(key.size());
        std::vector<float> wanted_value(key.size());
        const int64_t place = 5 + n;
        source->fetch(layer, std::span(&place, 1), key.data(), value.data());
        wanted.fetch(layer, std::span(&n, 1), wanted_key.data(), wanted_value.data());
        EXPECT_EQ(key, wanted_key);
        EXPECT_EQ(value, wanted_value);
      }
    }
    const auto document = bank->find("doc-8");
    ASSERT_TRUE(document);
    EXPECT_EQ(document->text, "text of document 8");
    EXPECT_EQ(bank->place_of(8), 7);
    EXPECT_TRUE(verify_bank(real_file_system(), folder.path()).empty());
  }
}

TEST(Bank, ReadersKeepTheirViewWhileAWriterGoesOn) {
  const BankFolder folder("readers");
  write(folder.path(), facts(), 3, 1);
  const auto before = Bank::open(real_file_system(), folder.path());
  const auto source = before->source();
  auto writer = BankWriter::open(real_file_system(), folder.path(), facts());
  Batch batch = make_batch(writer->next_passage_id(), 4, 2);
  writer->commit(batch.documents, batch.encoded);
  EXPECT_EQ(source->num_documents(), 3);
  EXPECT_EQ(Bank::open(real_file_system(), folder.path())->source()->num_documents(), 7);
}

TEST(Bank, ASecondWriterIsToldWhoHoldsTheLock) {
  const BankFolder folder("lock");
  const auto writer = BankWriter::open(real_file_system(), folder.path(), facts());
  try {
    BankWriter::open(real_file_system(), folder.path(), facts());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLocked);
    EXPECT_NE(std::string(error.what()).find(std::to_string(getpid())), std::string::npos);
  }
}

TEST(Bank, RefusesEveryOtherFactAndNamesIt) {
  const BankFolder folder("facts");
  write(folder.path(), facts(), 2, 1);
  const std::vector<std::pair<std::string, std::function<void(BankFacts&)>>> changes{
      {"model_fingerprint", [](BankFacts& f) { f.model_fingerprint = "x"; }},
      {"tokenizer_fingerprint", [](BankFacts& f) { f.tokenizer_fingerprint = "x"; }},
      {"router_layers", [](BankFacts& f) { ++f.shape.num_layers; }},
      {"kv_heads", [](BankFacts& f) { ++f.shape.num_kv_heads; }},
      {"head_dim", [](BankFacts& f) { ++f.shape.head_dim; }},
      {"chunk_tokens", [](BankFacts& f) { ++f.shape.chunk_tokens; }},
      {"max_passage_tokens", [](BankFacts& f) { ++f.max_passage_tokens; }},
      {"key_type", [](BankFacts& f) { f.key_type = kernels::NumberType::kInt8; }},
      {"content_type", [](BankFacts& f) { f.content_type = kernels::NumberType::kFloat32; }}};
  for (const auto& [name, change] : changes) {
    BankFacts other = facts();
    change(other);
    try {
      BankWriter::open(real_file_system(), folder.path(), other);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kMismatch);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
}

TEST(Bank, AFolderThatIsSomethingElseIsLeftAlone) {
  const BankFolder folder("other");
  std::filesystem::create_directory(folder.path());
  std::ofstream(folder.path() / "thesis.txt") << "mine";
  EXPECT_THROW(BankWriter::open(real_file_system(), folder.path(), facts()), Error);
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "thesis.txt"));
}

/// The bytes of a file, changed and put back.
class Damage {
 public:
  Damage(const std::filesystem::path& path, int64_t offset, unsigned bit)
      : path_(path), offset_(offset) {
    flip(bit);
    bit_ = bit;
  }
  ~Damage() { flip(bit_); }

 private:
  void flip(unsigned bit) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset_);
    const int byte = file.get();
    file.seekp(offset_);
    file.put(static_cast<char>(byte ^ (1 << bit)));
  }
  std::filesystem::path path_;
  int64_t offset_;
  unsigned bit_ = 0;
};

TEST(VerifyBank, FindsAFlippedBitInEveryByteOfASegmentAndNamesItsDocuments) {
  const BankFolder folder("flips");
  write(folder.path(), facts(), 3, 1);
  const auto segment = folder.path() / "segments" / "000001.msa";
  const auto size = static_cast<int64_t>(std::filesystem::file_size(segment));
  int64_t named = 0;
  for (int64_t offset = 0; offset < size; ++offset) {
    const Damage damage(segment, offset, static_cast<unsigned>(offset % 8));
    const auto problems = verify_bank(real_file_system(), folder.path());
    ASSERT_FALSE(problems.empty()) << "byte " << offset << " of " << size;
    EXPECT_EQ(problems.front().file, segment.string());
    EXPECT_GE(problems.front().offset, 0);
    named += problems.front().document.find("doc-") != std::string::npos;
    // Nothing wrong is ever used: opening or reading fails.
    const auto bank = Bank::open(real_file_system(), folder.path());
    EXPECT_THROW(
        {
          const auto source = bank->source();
          std::vector<int64_t> all(source->num_documents());
          std::iota(all.begin(), all.end(), 0);
          std::vector<float> rows(100 * kShape.key_dim());
          source->fetch(0, all, rows.data(), rows.data());
        },
        Error);
  }
  RecordProperty("bytes", static_cast<int>(size));
  EXPECT_TRUE(verify_bank(real_file_system(), folder.path()).empty());
}

TEST(VerifyBank, FindsFlippedBitsInTheCatalogOrTheyChangeNothing) {
  const BankFolder folder("catalog");
  write(folder.path(), facts(), 3, 1);
  // Everything into the database file itself.
  { const auto bank = Bank::open(real_file_system(), folder.path()); }
  const auto catalog = folder.path() / Catalog::kFile;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(catalog));
  std::mt19937 random(4);
  int64_t found = 0;
  int64_t unused = 0;
  for (int round = 0; round < 400; ++round) {
    const auto offset = static_cast<int64_t>(random() % static_cast<uint32_t>(size));
    const auto copy = folder.path().string() + "_copy";
    std::filesystem::remove_all(copy);
    std::filesystem::copy(folder.path(), copy, std::filesystem::copy_options::recursive);
    const Damage damage(std::filesystem::path(copy) / Catalog::kFile, offset,
                        static_cast<unsigned>(random() % 8));
    if (!verify_bank(real_file_system(), copy).empty()) {
      ++found;
    } else {
      // Free space of a page: every document must be there unchanged.
      const auto bank = Bank::open(real_file_system(), copy);
      for (int64_t id = 1; id <= 3; ++id) {
        const auto document = bank->find("doc-" + std::to_string(id));
        ASSERT_TRUE(document) << "byte " << offset;
        EXPECT_EQ(document->text, "text of document " + std::to_string(id));
      }
      EXPECT_EQ(bank->source()->num_documents(), 3);
      ++unused;
    }
    std::filesystem::remove_all(copy);
  }
  EXPECT_GT(found, 0);
  RecordProperty("found", static_cast<int>(found));
  RecordProperty("unused", static_cast<int>(unused));
}

TEST(VerifyBank, FindsAMissingAndATruncatedSegment) {
  const BankFolder folder("missing");
  write(folder.path(), facts(), 3, 1);
  const auto segment = folder.path() / "segments" / "000001.msa";
  std::filesystem::resize_file(segment, std::filesystem::file_size(segment) - 1);
  EXPECT_FALSE(verify_bank(real_file_system(), folder.path()).empty());
  std::filesystem::remove(segment);
  EXPECT_FALSE(verify_bank(real_file_system(), folder.path()).empty());
}

/// A disk that fails at one call: that call and all later writes find no space.
class FailingFileSystem final : public FileSystem {
 public:
  explicit FailingFileSystem(int64_t good_calls) : left_(good_calls) {}
  bool has_failed() const { return left_ < 0; }

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override {
    return real().open_to_read(path);
  }
  std::unique_ptr<File> create(const std::filesystem::path& path) override {
    spend();
    return std::make_unique<FailingFile>(*this, real().create(path));
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    spend();
    real().rename(from, to);
  }
  void remove(const std::filesystem::path& path) override { real().remove(path); }
  void create_directory(const std::filesystem::path& path) override {
    real().create_directory(path);
  }
  void sync_directory(const std::filesystem::path& path) override {
    spend();
    real().sync_directory(path);
  }
  bool exists(const std::filesystem::path& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::filesystem::path& path) override {
    return real().list(path);
  }
  uint64_t free_bytes(const std::filesystem::path& path) override {
    return real().free_bytes(path);
  }

 private:
  class FailingFile final : public File {
   public:
    FailingFile(FailingFileSystem& files, std::unique_ptr<File> file)
        : files_(files), file_(std::move(file)) {}
    void read_at(uint64_t offset, std::span<std::byte> out) const override {
      file_->read_at(offset, out);
    }
    void append(std::span<const std::byte> bytes) override {
      files_.spend();
      file_->append(bytes);
    }
    void sync() override {
      files_.spend();
      file_->sync();
    }
    uint64_t size() const override { return file_->size(); }
    const std::filesystem::path& path() const override { return file_->path(); }

   private:
    FailingFileSystem& files_;
    std::unique_ptr<File> file_;
  };

  static FileSystem& real() { return real_file_system(); }
  void spend() {
    if (left_-- <= 0) {
      left_ = -1;
      throw Error(ErrorCode::kNoSpace, "no space (test)");
    }
  }
  int64_t left_;
};

TEST(Bank, AFullDiskAtAnyCallLosesNothingAndTheNextWriterGoesOn) {
  const BankFolder folder("full");
  write(folder.path(), facts(), 2, 1);
  int64_t tried = 0;
  for (int64_t good_calls = 0;; ++good_calls) {
    FailingFileSystem files(good_calls);
    int64_t wanted = Bank::open(real_file_system(), folder.path())->stats().documents;
    try {
      auto writer = BankWriter::open(files, folder.path(), facts());
      Batch batch = make_batch(writer->next_passage_id(), 2, static_cast<uint32_t>(good_calls));
      writer->commit(batch.documents, batch.encoded);
      wanted += 2;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNoSpace);
      ++tried;
    }
    EXPECT_EQ(Bank::open(real_file_system(), folder.path())->stats().documents, wanted);
    EXPECT_TRUE(verify_bank(real_file_system(), folder.path()).empty());
    if (!files.has_failed()) break;
  }
  EXPECT_GE(tried, 8);
  write(folder.path(), facts(), 1, 9);
  EXPECT_TRUE(verify_bank(real_file_system(), folder.path()).empty());
}

}  // namespace
}  // namespace msa::memory
