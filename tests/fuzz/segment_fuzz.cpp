// Segment files of a bank whose every digest may be right: what an attacker would send.

#include <algorithm>

#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/segment_input.h"
#include "tests/fuzz/tensor_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr size_t kLengthBytes = 8;

memory::BankFacts facts_of(const SegmentPrefix& prefix) {
  memory::BankFacts facts = segment_facts();
  facts.key_type = static_cast<kernels::NumberType>(prefix.key_type % 3);
  facts.content_type = static_cast<kernels::ContentType>(prefix.content_type % 4);
  return facts;
}

/// The digest of the table at the end, which the catalog of such a bank would have.
storage::Digest digest_of_table(const std::string& file) {
  const auto digested = storage::digested_bytes_of(file.size());
  if (!digested) return {};
  return storage::digest_of(std::as_bytes(std::span(file)).subspan(*digested));
}

/// `written` is the file before any damage.
void check_reads(const storage::SegmentFile& file, const std::string& tensor,
                 const std::string& written) {
  const uint64_t num_bytes = file.tensor(tensor).num_bytes;
  std::string all(num_bytes, '\0');
  file.read(tensor, 0, std::as_writable_bytes(std::span(all)));
  expect(written.compare(file.tensor(tensor).offset, num_bytes, all) == 0,
         "a read gives other bytes than were written", tensor);
  const auto planned = file.plan_read(tensor, num_bytes / 3, num_bytes - num_bytes / 3);
  std::string bytes(planned.size(), '\0');
  const auto out = std::as_writable_bytes(std::span(bytes));
  planned.file->read_at(planned.first, out);
  file.check(planned, out);
  expect(bytes.compare(planned.wanted - planned.first, num_bytes - num_bytes / 3,
                       all.substr(num_bytes / 3)) == 0,
         "a planned read gives other bytes", tensor);
}

void check_segment(FileSystem& files, const std::string& name, const SegmentPrefix& prefix,
                   const std::string& written) {
  const storage::Digest digest = digest_of_table(written);
  const memory::BankFacts facts = facts_of(prefix);
  FilePool pool(files, 1);
  const auto segment = storage::SegmentFile::open(pool, name, written.size(), digest);
  for (const char* tensor : {memory::kRoutingKeyTensor, memory::kContentTensor,
                             memory::kFirstChunkTensor, memory::kPassageIdTensor}) {
    check_reads(*segment, tensor, written);
  }
  if (facts.key_type == kernels::NumberType::kInt8) {
    check_reads(*segment, memory::kRoutingScaleTensor, written);
  }
  const memory::SegmentRow row{.id = 1,
                               .file = name,
                               .passages = prefix.passages,
                               .chunks = prefix.chunks,
                               .tokens = 1,
                               .bytes = static_cast<int64_t>(written.size()),
                               .digest = digest};
  const memory::SegmentTables tables = memory::read_tables(*segment, facts, row);
  std::vector<memory::Passage> passages;
  for (size_t i = 0; i < tables.passage_id.size(); ++i) {
    passages.push_back({.id = tables.passage_id[i],
                        .chunks = tables.first_chunk[i + 1] - tables.first_chunk[i],
                        .segment = 1});
  }
  const auto stored = memory::stored_chunks_of(*segment, tables, passages);
  expect(stored.size() == passages.size(), "passages that are not found");
  int64_t next = 0;
  for (size_t i = 0; i < stored.size(); ++i) {
    expect(stored[i] == next && passages[i].chunks >= 0, "a passage whose chunks are elsewhere");
    next += passages[i].chunks;
  }
  expect(next == row.chunks, "chunks without a passage");
  // Where their rows lie is computed from the facts and the catalog's row.
  const memory::ContentTensor content = memory::content_tensor(facts, row.chunks);
  auto content_bytes = static_cast<uint64_t>(storage::data_type_bytes(content.type));
  for (const int64_t side : content.shape) content_bytes *= static_cast<uint64_t>(side);
  expect(segment->tensor(memory::kContentTensor).num_bytes == content_bytes, "another content");
  if (!passages.empty()) {
    passages.back().chunks += 1;
    expect(!accepts(name, [&] { memory::stored_chunks_of(*segment, tables, passages); }),
           "a passage of other chunks is found");
  }
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa;
  using namespace msa::fuzz;
  if (size < kPrefixBytes) return 0;
  const SegmentPrefix prefix = prefix_of(text_of(data, kPrefixBytes));
  const std::string written = segment_of(prefix, text_of(data + kPrefixBytes, size - kPrefixBytes));
  std::string file = written;
  const uint64_t num_bytes = file.size();
  const bool is_damaged = prefix.is_damaged % 2 == 1 && !file.empty();
  if (is_damaged) file[num_bytes * prefix.damage >> 16] ^= 0x40;
  const std::string name = "000001.msa";
  MemoryFiles files;
  files.put(name, file);
  const bool is_good = accepts(name, [&] { check_segment(files, name, prefix, written); });
  const auto damage =
      storage::find_segment_damage(files, name, num_bytes, digest_of_table(written));
  expect(!is_good || damage.empty(), "damage in a file that is read whole");
  expect(!is_damaged || !damage.empty(), "damage that verification does not find");
  if (filler_blocks(prefix) > 0) return 0;  // each reading takes its time
  storage::find_segment_damage(files, name, num_bytes + 16, std::nullopt);
  if (num_bytes > 0) storage::find_segment_damage(files, name, num_bytes - 1, std::nullopt);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  constexpr size_t kMaxFileBytes = size_t{2} << 20;  // with filler
  Random random(seed);
  const std::string all = text_of(data, size);
  if (size < kPrefixBytes + kLengthBytes || max_size < size || chance(random, 16)) {
    return give(mutated(all, max_size), data, max_size);
  }
  SegmentPrefix prefix = prefix_of(all);
  std::string file = all.substr(kPrefixBytes);
  const size_t max_file_size = max_size - kPrefixBytes;
  switch (random() % 8) {
    case 0:
      prefix = prefix_of(mutated(prefix_bytes(prefix), kPrefixBytes) + prefix_bytes(prefix));
      break;
    case 1:
      prefix.is_damaged = 1;
      prefix.damage = static_cast<uint16_t>(random());
      if (chance(random, 2)) prefix.damage |= 0xFC00;  // in the last block
      break;
    case 2:
    case 3:
      file = with_number_changed(std::move(file), random);
      break;
    case 4:
    case 5:
      file = without_filler(prefix,
                            with_tensor_changed(with_filler(prefix, file), kMaxFileBytes, random));
      break;
    default:
      file = with_header_mutated(file, max_file_size, random);
  }
  if (chance(random, 8)) prefix.keeps_digests ^= 1;
  return give(prefix_bytes(prefix) + file, data, max_size);
}
