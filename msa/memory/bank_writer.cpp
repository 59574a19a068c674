#include <algorithm>
#include <cstdio>
#include <set>

#include "msa/base/error.h"
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
  const int64_t row_bytes = dim * kernels::bytes_of(facts.content_type);
  data.content.resize(num_layers * num_chunks * 2 * row_bytes);
  std::byte* out = data.content.data();
  for (size_t n = 0; n < encoded.num_chunks.size(); ++n) {
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      for (int64_t c = data.first_chunk[n]; c < data.first_chunk[n + 1]; ++c) {
        for (const auto* rows : {&encoded.key[layer], &encoded.value[layer]}) {
          kernels::quantize_rows({.row = rows->data() + c * dim,
                                  .num_rows = 1,
                                  .dim = dim,
                                  .type = facts.content_type,
                                  .out = out});
          out += row_bytes;
        }
      }
    }
  }
  return data;
}

template <typename Value>
storage::TensorToWrite tensor(const char* name, storage::DataType type, std::vector<int64_t> shape,
                              const std::vector<Value>& values) {
  return {.name = name,
          .type = type,
          .shape = std::move(shape),
          .bytes = std::as_bytes(std::span(values))};
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
  tensors.push_back(tensor(
      kContentTensor, data_type(facts.content_type),
      {num_layers * num_chunks * 2, facts.shape.num_kv_heads, facts.shape.head_dim}, data.content));
  return storage::write_segment(files, path, std::move(tensors),
                                {{"format", "msa-segment-1"},
                                 {"model_fingerprint", facts.model_fingerprint},
                                 {"chunk_tokens", std::to_string(facts.shape.chunk_tokens)}});
}

std::string segment_name(int64_t id) {
  char name[32];
  std::snprintf(name, sizeof name, "%06lld.msa", static_cast<long long>(id));
  return name;
}

void expect_storable(const EncodedDocuments& encoded) {
  const auto is_finite = [](const std::vector<std::vector<float>>& layers) {
    return std::all_of(layers.begin(), layers.end(), [](const std::vector<float>& rows) {
      return std::all_of(rows.begin(), rows.end(), [](float x) { return x - x == 0.0F; });
    });
  };
  if (!is_finite(encoded.key) || !is_finite(encoded.value) || !is_finite(encoded.routing_key)) {
    throw Error(ErrorCode::kInternal, "the encoded documents hold a value that is not finite");
  }
}

}  // namespace

BankWriter::BankWriter(FileSystem& files, std::filesystem::path folder, BankFacts facts)
    : files_(files), folder_(std::move(folder)), facts_(std::move(facts)) {}

std::unique_ptr<BankWriter> BankWriter::open(FileSystem& files, const std::filesystem::path& folder,
                                             const BankFacts& facts) {
  MSA_CHECK(facts.content_type != kernels::NumberType::kInt8, "content can be f32 or bf16");
  auto writer = std::unique_ptr<BankWriter>(new BankWriter(files, folder, facts));
  const bool is_new = !files.exists(folder / Catalog::kFile);
  if (is_new) {
    files.create_directory(folder);
    // What an interrupted creation may have left; anything else is not ours.
    const std::set<std::string> own{"LOCK", "segments", "tmp"};
    for (const std::string& name : files.list(folder)) {
      if (own.contains(name) || name.starts_with(Catalog::kNewFile)) continue;
      throw Error(ErrorCode::kInvalidFormat, folder.string(),
                  " is neither a bank nor empty: it holds ", name);
    }
  }
  writer->lock_ = FileLock::acquire(folder / "LOCK");
  files.create_directory(folder / "segments");
  files.create_directory(folder / "tmp");
  for (const std::string& name : files.list(folder / "tmp")) files.remove(folder / "tmp" / name);
  if (!files.exists(folder / Catalog::kFile)) Catalog::create(files, folder, facts);
  writer->catalog_ = Catalog::open(folder, storage::Database::Mode::kWrite);
  expect_equal(writer->catalog_->facts(), facts, "the bank " + folder.string());
  std::set<std::string> known;
  for (const SegmentRow& segment : writer->catalog_->segments()) {
    known.insert(segment.file);
    writer->next_segment_ = segment.id + 1;
  }
  for (const std::string& name : files.list(folder / "segments")) {
    if (!known.contains(name)) files.remove(folder / "segments" / name);
  }
  writer->next_passage_id_ = writer->catalog_->next_passage_id();
  return writer;
}

BankWriter::Known BankWriter::knows(const std::string& name, const std::string& title,
                                    const std::string& text) const {
  const auto digest = catalog_->content_digest(name);
  if (!digest) return Known::kNo;
  return *digest == Catalog::content_digest(title, text) ? Known::kSame : Known::kOther;
}

void BankWriter::commit(std::vector<Document> documents, const EncodedDocuments& encoded) {
  expect_storable(encoded);
  SegmentData data = convert(encoded, facts_);
  SegmentRow row{.id = next_segment_, .file = segment_name(next_segment_)};
  int64_t next_id = next_passage_id_;
  for (const Document& document : documents) {
    for (const Passage& passage : document.passages) {
      MSA_CHECK(passage.id == next_id++, "passage ids must rise by one from ", next_passage_id_,
                ", got ", passage.id);
      const size_t place = data.passage_id.size();
      MSA_CHECK(place < encoded.num_chunks.size() && encoded.num_chunks[place] == passage.chunks,
                "passage ", passage.id, " has other chunks than were encoded");
      data.passage_id.push_back(passage.id);
      row.tokens += passage.tokens;
    }
  }
  MSA_CHECK(data.passage_id.size() == encoded.num_chunks.size() && !data.passage_id.empty(),
            encoded.num_chunks.size(), " passages were encoded, ", data.passage_id.size(),
            " are to be committed");
  row.passages = static_cast<int64_t>(data.passage_id.size());
  row.chunks = data.first_chunk.back();

  const auto temporary = folder_ / "tmp" / row.file;
  const storage::WrittenSegment written = write(files_, temporary, data, facts_);
  row.bytes = static_cast<int64_t>(written.num_bytes);
  row.digest = written.digest;
  files_.rename(temporary, folder_ / "segments" / row.file);
  files_.sync_directory(folder_ / "segments");
  catalog_->add(row, documents);
  ++next_segment_;
  next_passage_id_ = next_id;
}

}  // namespace msa::memory
