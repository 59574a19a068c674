#include <algorithm>
#include <set>

#include "msa/base/error.h"
#include "msa/base/threads.h"
#include "msa/kernels/content_rows.h"
#include "msa/kernels/quantize_rows.h"
#include "msa/memory/bank.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::memory {
namespace {

/// The tensors of a segment, in the types of the bank.
struct SegmentData {
  std::vector<std::byte> routing_key;
  std::vector<float> routing_scale;
  std::vector<std::byte> content;
  std::vector<int64_t> first_chunk{0};
  std::vector<int64_t> passage_id;
};

SegmentData convert(const EncodedDocuments& encoded, const BankFacts& facts) {
  SegmentData data;
  for (const int64_t count : encoded.num_chunks) {
    data.first_chunk.push_back(data.first_chunk.back() + count);
  }
  const int64_t num_chunks = data.first_chunk.back();
  const int64_t num_layers = facts.shape.num_layers;
  const int64_t dim = facts.shape.key_dim();
  const int64_t key_bytes = num_chunks * dim * kernels::bytes_of(facts.key_type);
  data.routing_key.resize(num_layers * key_bytes);
  const bool is_scaled = facts.key_type == kernels::NumberType::kInt8;
  data.routing_scale.resize(is_scaled ? num_layers * num_chunks : 0);
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    kernels::quantize_rows({.row = encoded.routing_key[layer].data(),
                            .num_rows = num_chunks,
                            .dim = dim,
                            .type = facts.key_type,
                            .out = data.routing_key.data() + layer * key_bytes,
                            .scale = data.routing_scale.data() + layer * num_chunks * is_scaled});
  }
  const int64_t row_bytes = content_layout(facts).row_bytes;
  data.content.resize(num_layers * num_chunks * 2 * row_bytes);
  parallel_for(static_cast<int64_t>(encoded.num_chunks.size()), [&](int64_t n) {
    std::byte* out = data.content.data() + data.first_chunk[n] * num_layers * 2 * row_bytes;
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      for (int64_t c = data.first_chunk[n]; c < data.first_chunk[n + 1]; ++c) {
        for (const auto* rows : {&encoded.key[layer], &encoded.value[layer]}) {
          kernels::quantize_content({.row = rows->data() + c * dim,
                                     .num_rows = 1,
                                     .num_kv_heads = facts.shape.num_kv_heads,
                                     .head_dim = facts.shape.head_dim,
                                     .type = facts.content_type,
                                     .out = out});
          out += row_bytes;
        }
      }
    }
  });
  return data;
}

template <typename Value>
storage::TensorToWrite tensor(const char* name, storage::DataType type,
                              const std::vector<int64_t>& shape, const std::vector<Value>& values) {
  return {.name = name, .type = type, .shape = shape, .bytes = std::as_bytes(std::span(values))};
}

storage::WrittenSegment write(FileSystem& files, const std::filesystem::path& path,
                              const SegmentData& data, const BankFacts& facts) {
  const int64_t num_chunks = data.first_chunk.back();
  const auto num_passages = static_cast<int64_t>(data.passage_id.size());
  const int64_t num_layers = facts.shape.num_layers;
  std::vector<storage::TensorToWrite> tensors{
      tensor(kFirstChunkTensor, storage::DataType::kI64, {num_passages + 1}, data.first_chunk),
      tensor(kPassageIdTensor, storage::DataType::kI64, {num_passages}, data.passage_id)};
  if (!data.routing_scale.empty()) {
    tensors.push_back(tensor(kRoutingScaleTensor, storage::DataType::kF32, {num_layers, num_chunks},
                             data.routing_scale));
  }
  tensors.push_back(tensor(kRoutingKeyTensor, data_type(facts.key_type),
                           {num_layers, num_chunks, facts.shape.key_dim()}, data.routing_key));
  const ContentTensor content = content_tensor(facts, num_chunks);
  tensors.push_back(tensor(kContentTensor, content.type, content.shape, data.content));
  return storage::write_segment(files, path, std::move(tensors),
                                {{"format", "msa-segment-1"},
                                 {"model_fingerprint", facts.model_fingerprint},
                                 {"chunk_tokens", std::to_string(facts.shape.chunk_tokens)}});
}

void expect_storable(const EncodedDocuments& encoded, const MemoryShape& shape) {
  int64_t num_chunks = 0;
  for (const int64_t count : encoded.num_chunks) {
    MSA_CHECK(count >= 0, "a passage has ", count, " chunks");
    num_chunks += count;
  }
  for (const auto* layers : {&encoded.key, &encoded.value, &encoded.routing_key}) {
    MSA_CHECK(static_cast<int64_t>(layers->size()) == shape.num_layers, "the bank has ",
              shape.num_layers, " router layers, ", layers->size(), " were encoded");
    for (const std::vector<float>& rows : *layers) {
      MSA_CHECK(static_cast<int64_t>(rows.size()) == num_chunks * shape.key_dim(), num_chunks,
                " chunks of ", shape.key_dim(), " numbers are ", num_chunks * shape.key_dim(),
                ", got ", rows.size());
      if (!std::all_of(rows.begin(), rows.end(), [](float x) { return x - x == 0.0F; })) {
        throw Error(ErrorCode::kInternal, "the encoded documents hold a value that is not finite");
      }
    }
  }
}

/// Throws unless the folder holds nothing but what an interrupted creation may have left, or a bank
/// that another process has just made.
void expect_ours(FileSystem& files, const std::filesystem::path& folder) {
  const std::set<std::string> own{"LOCK", "segments", "tmp"};
  for (const std::string& name : files.list(folder)) {
    if (own.contains(name) || name.starts_with(Catalog::kNewFile) ||
        name.starts_with(Catalog::kFile)) {
      continue;
    }
    throw Error(ErrorCode::kInvalidFormat, folder.string(),
                " is neither a bank nor empty: it holds ", name);
  }
}

}  // namespace

BankWriter::BankWriter(FileSystem& files, std::filesystem::path folder, BankFacts facts)
    : files_(files), folder_(std::move(folder)), facts_(std::move(facts)) {}

std::unique_ptr<BankWriter> BankWriter::open(FileSystem& files, const std::filesystem::path& folder,
                                             const BankFacts& facts) {
  auto writer = std::unique_ptr<BankWriter>(new BankWriter(files, folder, facts));
  if (!files.exists(folder / Catalog::kFile)) {
    files.create_directory(folder);
    // The folder may be there without being durable: made by a creation that then failed.
    files.sync_directory(std::filesystem::absolute(folder / "").parent_path().parent_path());
    expect_ours(files, folder);
  }
  writer->lock_ = FileLock::acquire(folder / "LOCK");
  files.create_directory(folder / "segments");
  files.create_directory(folder / "tmp");
  if (!files.exists(folder / Catalog::kFile)) Catalog::create(files, folder, facts);
  writer->catalog_ = Catalog::open(folder, storage::Database::Mode::kWrite);
  expect_equal(writer->catalog_->facts(), facts, "the bank " + folder.string());
  writer->next_passage_id_ = writer->catalog_->next_passage_id();
  writer->next_segment_ = writer->catalog_->next_segment();
  writer->clean();
  return writer;
}

void BankWriter::clean() {
  for (const std::string& name : files_.list(folder_ / "tmp")) {
    files_.remove(folder_ / "tmp" / name);
  }
  std::set<std::string> known;
  for (const SegmentRow& segment : catalog_->segments()) {
    known.insert(segment.file);
    next_segment_ = std::max(next_segment_, segment.id + 1);
  }
  std::vector<std::string> unknown = files_.list(folder_ / "segments");
  std::erase_if(unknown, [&](const std::string& name) { return known.contains(name); });
  if (unknown.empty()) return;
  // A commit that failed after its segment was published may have left a whole transaction in
  // SQLite's log that nothing points to yet. Overwrite it before its segment goes: a crash must not
  // bring it back.
  catalog_->reserve_segments_below(next_segment_ + static_cast<int64_t>(unknown.size()));
  next_segment_ = catalog_->next_segment();
  for (const std::string& name : unknown) files_.remove(folder_ / "segments" / name);
}

BankWriter::Known BankWriter::knows(const std::string& name, const std::string& title,
                                    const std::string& text) const {
  const auto is_same = catalog_->is_same(name, title, text);
  if (!is_same) return Known::kNo;
  return *is_same ? Known::kSame : Known::kOther;
}

void BankWriter::commit(std::vector<Document> documents, const EncodedDocuments& encoded) {
  expect_storable(encoded, facts_.shape);
  SegmentRow row;
  std::vector<int64_t> passage_id;
  std::set<std::string_view> names;
  for (const Document& document : documents) {
    MSA_CHECK(names.insert(document.name).second && !catalog_->has(document.name),
              "the document \"", document.name, "\" is in the bank already");
    MSA_CHECK(!document.passages.empty(), "the document \"", document.name, "\" has no passage");
    for (const Passage& passage : document.passages) {
      const size_t place = passage_id.size();
      const int64_t id = next_passage_id_ + static_cast<int64_t>(place);
      MSA_CHECK(passage.id == id, "passage ids must rise by one from ", next_passage_id_, ", got ",
                passage.id, " for ", id);
      MSA_CHECK(place < encoded.num_chunks.size() && encoded.num_chunks[place] == passage.chunks,
                "passage ", passage.id, " has other chunks than were encoded");
      MSA_CHECK(passage.start >= 0 && passage.start <= passage.end && passage.tokens >= 0 &&
                    passage.end <= static_cast<int64_t>(document.text.size()),
                "passage ", passage.id, " is not within its document");
      passage_id.push_back(passage.id);
      row.tokens += passage.tokens;
    }
  }
  MSA_CHECK(passage_id.size() == encoded.num_chunks.size() && !passage_id.empty(),
            encoded.num_chunks.size(), " passages were encoded, ", passage_id.size(),
            " are to be committed");
  SegmentData data = convert(encoded, facts_);
  data.passage_id = std::move(passage_id);
  row.passages = static_cast<int64_t>(data.passage_id.size());
  row.chunks = data.first_chunk.back();

  if (has_failed_) clean();
  has_failed_ = true;
  row.id = next_segment_++;  // never used again, even if this commit fails
  row.file = segment_file_name(row.id);
  const auto temporary = folder_ / "tmp" / row.file;
  const storage::WrittenSegment written = write(files_, temporary, data, facts_);
  row.bytes = static_cast<int64_t>(written.num_bytes);
  row.digest = written.digest;
  files_.rename(temporary, folder_ / "segments" / row.file);
  files_.sync_directory(folder_ / "segments");
  catalog_->add(row, documents);
  next_passage_id_ += row.passages;
  has_failed_ = false;
}

}  // namespace msa::memory
