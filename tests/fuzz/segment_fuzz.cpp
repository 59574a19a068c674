// Segment files of a bank whose every digest may be right: what an attacker would send.

#include <algorithm>

#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/tensor_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

constexpr size_t kPrefixBytes = 4;  // of an input: content type, key type, passages, chunks
constexpr size_t kLengthBytes = 8;

memory::BankFacts facts_of(const std::string& prefix) {
  return {
      .model_fingerprint = "m",
      .tokenizer_fingerprint = "t",
      .model_name = "test",
      .shape = {.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4},
      .max_passage_tokens = 100,
      .key_type = static_cast<kernels::NumberType>(static_cast<unsigned char>(prefix[1]) % 3),
      .content_type = static_cast<kernels::ContentType>(static_cast<unsigned char>(prefix[0]) % 4)};
}

/// The digest of the table at the end, which the catalog of such a bank would have.
storage::Digest digest_of_table(const std::string& file) {
  const auto digested = storage::digested_bytes_of(file.size());
  if (!digested) return {};
  return storage::digest_of(std::as_bytes(std::span(file)).subspan(*digested));
}

/// The file with a table of the digests that its blocks have.
std::string with_digests(std::string file) {
  const auto digested = storage::digested_bytes_of(file.size());
  if (!digested) return file;
  const auto bytes = std::as_bytes(std::span(file)).first(*digested);
  std::string table;
  for (size_t first = 0; first < bytes.size(); first += storage::kDigestBlockBytes) {
    const storage::Digest digest = storage::digest_of(
        bytes.subspan(first, std::min<size_t>(storage::kDigestBlockBytes, bytes.size() - first)));
    table.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  return file.substr(0, *digested) + table;
}

void check_reads(const storage::SegmentFile& file, const std::string& tensor) {
  const uint64_t num_bytes = file.tensor(tensor).num_bytes;
  std::string all(num_bytes, '\0');
  file.read(tensor, 0, std::as_writable_bytes(std::span(all)));
  const auto planned = file.plan_read(tensor, num_bytes / 3, num_bytes - num_bytes / 3);
  std::string bytes(planned.size(), '\0');
  const auto out = std::as_writable_bytes(std::span(bytes));
  planned.file->read_at(planned.first, out);
  file.check(planned, out);
  expect(bytes.compare(planned.wanted - planned.first, num_bytes - num_bytes / 3,
                       all.substr(num_bytes / 3)) == 0,
         "a planned read gives other bytes", tensor);
}

void check_segment(FileSystem& files, const std::string& name, const std::string& prefix,
                   const std::string& file) {
  const memory::BankFacts facts = facts_of(prefix);
  const storage::Digest digest = digest_of_table(file);
  FilePool pool(files, 1);
  const auto segment = storage::SegmentFile::open(pool, name, file.size(), digest);
  for (const char* tensor : {memory::kRoutingKeyTensor, memory::kContentTensor,
                             memory::kFirstChunkTensor, memory::kPassageIdTensor}) {
    check_reads(*segment, tensor);
  }
  const memory::SegmentRow row{.id = 1,
                               .file = name,
                               .passages = static_cast<unsigned char>(prefix[2]),
                               .chunks = static_cast<unsigned char>(prefix[3]),
                               .tokens = 1,
                               .bytes = static_cast<int64_t>(file.size()),
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
  const std::string prefix = text_of(data, kPrefixBytes);
  const std::string file = text_of(data + kPrefixBytes, size - kPrefixBytes);
  const std::string name = "000001.msa";
  MemoryFiles files;
  files.put(name, file);
  const bool is_good = accepts(name, [&] { check_segment(files, name, prefix, file); });
  const auto damage = storage::find_segment_damage(files, name, file.size(), digest_of_table(file));
  expect(!is_good || damage.empty(), "damage in a file that is read whole");
  storage::find_segment_damage(files, name, file.size() + 16, std::nullopt);
  if (!file.empty()) storage::find_segment_damage(files, name, file.size() - 1, std::nullopt);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  const std::string all = text_of(data, size);
  if (size < kPrefixBytes + kLengthBytes || chance(random, 16)) {
    return give(mutated(all, max_size), data, max_size);
  }
  std::string prefix = all.substr(0, kPrefixBytes);
  std::string file = all.substr(kPrefixBytes);
  const uint64_t length = std::min<uint64_t>(load_number(file), file.size() - kLengthBytes);
  std::string header = file.substr(kLengthBytes, length);
  std::string rest = file.substr(kLengthBytes + length);
  switch (random() % 6) {
    case 0:
      prefix = mutated(prefix, kPrefixBytes);
      prefix.resize(kPrefixBytes);
      break;
    case 1:
      rest = mutated(std::move(rest), max_size - kPrefixBytes - kLengthBytes);
      break;
    default:
      header = with_text_mutated(std::move(header),
                                 "{}[],:", max_size - kPrefixBytes - kLengthBytes, random);
  }
  file = chance(random, 4) ? with_tensor_changed(file, max_size - kPrefixBytes, random)
                           : number_bytes(header.size()) + header + rest;
  if (file.size() > max_size - kPrefixBytes) file.resize(max_size - kPrefixBytes);
  if (!chance(random, 8)) file = with_digests(std::move(file));
  return give(prefix + file, data, max_size);
}
