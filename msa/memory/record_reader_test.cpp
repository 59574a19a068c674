#include "msa/memory/record_reader.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <mutex>

#include "msa/base/bfloat16.h"
#include "msa/base/error.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/segment_layout.h"

namespace msa::memory {
namespace {

using kernels::ContentType;

class RecordReaderTest : public BankTest, public testing::WithParamInterface<bool> {
 protected:
  /// Three segments of 300 passages or so.
  std::unique_ptr<BankSegments> write_bank(ContentType content) {
    std::filesystem::remove_all(folder());
    BankFacts own = facts();
    own.content_type = content;
    for (uint32_t seed = 0; seed < 3; ++seed) {
      commit(*BankWriter::open(real_file_system(), folder(), own), 200, seed);
    }
    return open_segments(own);
  }

  std::unique_ptr<BankSegments> open_segments(const BankFacts& own) const {
    const auto catalog =
        Catalog::open(real_file_system(), folder(), storage::Database::Mode::kRead);
    return std::make_unique<BankSegments>(real_file_system(), folder(), own, catalog->segments(),
                                          catalog->passages());
  }

  /// As a GPU keeps it.
  static std::vector<std::byte> wanted(const BankSegments& segments, int64_t document) {
    const BankFacts& facts = segments.facts();
    std::vector<std::byte> record(segments.num_chunks(document) * kShape.num_layers *
                                  content_chunk_bytes(facts));
    segments.read_record(document, 0, record);
    if (facts.content_type != ContentType::kFloat32) return record;
    std::vector<BFloat16> rounded(record.size() / sizeof(float));
    std::ranges::transform(std::span(reinterpret_cast<const float*>(record.data()), rounded.size()),
                           rounded.begin(), to_bfloat16);
    const auto bytes = std::as_bytes(std::span(rounded));
    return {bytes.begin(), bytes.end()};
  }

  /// Reads these documents together; [documents] records.
  static std::vector<std::vector<std::byte>> read(RecordReader& reader,
                                                  const BankSegments& segments,
                                                  const std::vector<int64_t>& documents) {
    std::vector<std::vector<std::byte>> room;
    std::vector<RecordReader::Wanted> wanted;
    for (const int64_t document : documents) {
      room.emplace_back(RecordReader::room_bytes(segments.facts(), segments.num_chunks(document)));
    }
    for (size_t i = 0; i < documents.size(); ++i) {
      wanted.push_back({.document = documents[i], .room = room[i]});
    }
    std::vector<std::vector<std::byte>> records(documents.size());
    reader.read(wanted, [&](size_t i, std::span<const std::byte> record) {
      EXPECT_TRUE(records[i].empty());
      records[i].assign(record.begin(), record.end());
    });
    return records;
  }
};

TEST_P(RecordReaderTest, GivesRecordsOfEveryTypeFromEverySegment) {
  for (const ContentType content :
       {ContentType::kFloat32, ContentType::kBFloat16, ContentType::kInt8, ContentType::kInt4}) {
    SCOPED_TRACE(kernels::name_of(content));
    const auto segments = write_bank(content);
    ASSERT_EQ(segments->segments().size(), 3U);
    RecordReader reader(*segments, GetParam());
    for (int turn = 0; turn < 2; ++turn) {  // blocks that are checked while read, and later
      std::vector<int64_t> documents;
      for (int64_t n = 0; n < segments->num_documents(); n += 7 - turn) documents.push_back(n);
      documents.push_back(documents.front());
      const auto records = read(reader, *segments, documents);
      for (size_t i = 0; i < documents.size(); ++i) {
        ASSERT_EQ(records[i], wanted(*segments, documents[i])) << "document " << documents[i];
      }
    }
  }
}

TEST_P(RecordReaderTest, ADamagedRecordIsRefusedAndOthersAreRead) {
  // Its last block is not that of the header.
  commit(*open_writer(), 1500, 1);
  const auto whole = open_segments(facts());
  const int64_t last = whole->num_documents() - 1;
  const std::vector<std::byte> first = wanted(*whole, 0);
  const storage::TensorInfo& content = whole->segments()[0].file->tensor(kContentTensor);
  ASSERT_GT(content.num_bytes, storage::kDigestBlockBytes);
  {
    std::fstream file(segment(1), std::ios::in | std::ios::out | std::ios::binary);
    const auto offset = static_cast<std::streamoff>(content.offset + content.num_bytes - 1);
    file.seekg(offset);
    const int byte = file.get();
    file.seekp(offset);
    file.put(static_cast<char>(byte ^ 1));
  }
  const auto segments = open_segments(whole->facts());
  RecordReader reader(*segments, GetParam());
  try {
    read(reader, *segments, {0, last, 1});
    ADD_FAILURE() << "a damaged record was given";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruption);
    EXPECT_THAT(error.what(), testing::HasSubstr("wanted for passage"));
  }
  EXPECT_EQ(read(reader, *segments, {0}).front(), first);
}

INSTANTIATE_TEST_SUITE_P(Ways, RecordReaderTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Ring" : "Threads"; });

}  // namespace
}  // namespace msa::memory
