#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <unordered_set>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_writer.h"
#include "msa/storage/database.h"

namespace msa::memory {
namespace {

constexpr size_t kWindowBytes = 8;

uint64_t window_at(const char* bytes) {
  uint64_t window = 0;
  std::memcpy(&window, bytes, kWindowBytes);
  return window;
}

/// Strings that are searched for in every byte of files. Each is told by windows of eight bytes in
/// it: wherever a string of 15 bytes or more is, one of its aligned windows is whole.
class Canaries {
 public:
  void add(std::string_view bytes) {
    ++count_;
    for (size_t i = 0; i + kWindowBytes <= bytes.size(); i += kWindowBytes) {
      windows_.insert(window_at(bytes.data() + i));
    }
  }
  size_t count() const { return count_; }

  /// Windows that are in a file of the folder.
  size_t hits_in(const std::filesystem::path& folder) const {
    std::unordered_set<uint64_t> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      const std::string bytes(std::istreambuf_iterator<char>(file), {});
      for (size_t i = 0; i + kWindowBytes <= bytes.size(); ++i) {
        const uint64_t window = window_at(bytes.data() + i);
        if (windows_.contains(window)) found.insert(window);
      }
    }
    return found.size();
  }

 private:
  size_t count_ = 0;
  std::unordered_set<uint64_t> windows_;
};

class PurgeTest : public BankTest {
 protected:
  static constexpr int64_t kDocuments = 1500;

  static BankFacts plain_facts() {
    BankFacts own = facts();
    own.key_type = kernels::NumberType::kFloat32;
    own.content_type = kernels::ContentType::kFloat32;
    return own;
  }

  std::string marker() {
    std::string text;
    while (text.size() < 32) text += static_cast<char>('A' + random_() % 50);
    return text;
  }

  /// Marks each document, in all of its texts; what it will leave is noted.
  void mark(RandomBatch& batch) {
    for (Document& document : batch.documents) {
      document.name = marker();
      document.title = marker();
      document.text = marker() + document.text + marker();
      document.attributes = R"({"k":")" + marker() + "\"}";
      document.source = marker();
    }
  }
  void note(const RandomBatch& batch, size_t first, size_t end) {
    int64_t passage = 0;
    std::vector<size_t> row{0};
    for (const int64_t chunks : batch.encoded.num_chunks) {
      row.push_back(row.back() + chunks * kShape.key_dim());
    }
    for (size_t n = 0; n < batch.documents.size(); ++n) {
      const Document& document = batch.documents[n];
      const auto next = passage + static_cast<int64_t>(document.passages.size());
      if (n >= first && n < end) {
        const storage::Digest content = content_digest(document.title, document.text);
        for (const std::string& text :
             {document.name, document.title, document.source, document.text.substr(0, 32),
              document.attributes.substr(6, 32), document.text.substr(document.text.size() - 32),
              std::string(reinterpret_cast<const char*>(content.data()), content.size())}) {
          canaries_.add(text);
        }
        for (const auto* layers :
             {&batch.encoded.key, &batch.encoded.value, &batch.encoded.routing_key}) {
          for (const std::vector<float>& rows : *layers) {
            // 64 bytes of each of its chunks.
            for (size_t i = row[passage]; i < row[next]; i += kShape.key_dim()) {
              canaries_.add({reinterpret_cast<const char*>(rows.data() + i), 64});
            }
          }
        }
      }
      passage = next;
    }
  }

  std::mt19937 random_{20260101};
  Canaries canaries_;
};

TEST_F(PurgeTest, LeavesNoByteOfDeletedDocumentsInAnyFile) {
  auto writer = BankWriter::open(real_file_system(), folder(), plain_facts());
  std::vector<std::string> forgotten;
  std::vector<std::string> replaced;
  int64_t kept = 0;
  for (uint32_t seed = 0; seed < 10; ++seed) {
    RandomBatch batch = next_batch(*writer, kDocuments / 10, seed);
    mark(batch);
    note(batch, 0, 110);
    writer->commit(batch.documents, batch.encoded);
    for (size_t n = 0; n < batch.documents.size(); ++n) {
      const std::string& name = batch.documents[n].name;
      if (n < 100) forgotten.push_back(name);
      if (n >= 100 && n < 110) replaced.push_back(name);
      if (n >= 110) ++kept;
    }
  }
  ASSERT_GE(canaries_.count(), 1000U * 10);
  EXPECT_GT(canaries_.hits_in(folder()), 30'000U) << "the search is to find what is there";
  for (size_t n = 0; n < forgotten.size(); n += 100) {
    const auto part = std::span(forgotten).subspan(n, 100);
    EXPECT_EQ(writer->forget(part).documents, 100);
  }
  // The names of replaced documents stay, all else of them goes.
  RandomBatch batch = next_batch(*writer, static_cast<int64_t>(replaced.size()), 77);
  for (size_t n = 0; n < replaced.size(); ++n) batch.documents[n].name = replaced[n];
  writer->commit(batch.documents, batch.encoded, KnownName::kReplace);
  EXPECT_EQ(writer->forget(replaced).documents, static_cast<int64_t>(replaced.size()));
  EXPECT_GT(canaries_.hits_in(folder()), 0U) << "nothing has been purged yet";
  writer->compact(true);
  EXPECT_EQ(canaries_.hits_in(folder()), 0U);
  EXPECT_EQ(open()->stats().documents, kept);
  EXPECT_TRUE(verify().empty());
  EXPECT_EQ(std::filesystem::file_size(catalog().string() + "-wal"), 0U);
  EXPECT_TRUE(std::filesystem::is_empty(folder() / "tmp"));
}

TEST_F(PurgeTest, SaysWhenReadersHoldFilesAndFinishesOnceTheyAreGone) {
  const auto writer = BankWriter::open(real_file_system(), folder(), plain_facts());
  RandomBatch batch = next_batch(*writer, 20, 1);
  mark(batch);
  note(batch, 0, 10);
  writer->commit(batch.documents, batch.encoded);
  auto reader = open();
  std::vector<std::string> names;
  for (size_t n = 0; n < 10; ++n) names.push_back(batch.documents[n].name);
  writer->forget(names);
  try {
    writer->compact(true);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLocked);
    EXPECT_NE(std::string(error.what()).find("hold 1 files"), std::string::npos) << error.what();
  }
  EXPECT_GT(canaries_.hits_in(folder()), 0U);
  EXPECT_EQ(reader->source()->num_documents(), static_cast<int64_t>(reader->passages().size()));
  reader.reset();
  writer->compact(true);
  EXPECT_EQ(canaries_.hits_in(folder()), 0U);
}

TEST_F(PurgeTest, SaysWhenTheLogIsReadAndHasDoneTheRest) {
  const auto writer = BankWriter::open(real_file_system(), folder(), plain_facts());
  RandomBatch batch = next_batch(*writer, 20, 1);
  mark(batch);
  note(batch, 0, 10);
  writer->commit(batch.documents, batch.encoded);
  std::vector<std::string> names;
  for (size_t n = 0; n < 10; ++n) names.push_back(batch.documents[n].name);
  {
    const storage::Database database(catalog(), storage::Database::Mode::kRead);
    auto rows = database.prepare("SELECT id FROM documents");
    ASSERT_TRUE(rows.next());
    writer->forget(names);
    try {
      writer->compact(true);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kLocked);
    }
    EXPECT_EQ(open()->stats().dead_bytes, 0);
    EXPECT_TRUE(std::filesystem::is_empty(folder() / "tmp"));
  }
  writer->compact(true);
  EXPECT_EQ(canaries_.hits_in(folder()), 0U);
}

}  // namespace
}  // namespace msa::memory
