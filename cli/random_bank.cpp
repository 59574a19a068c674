#include "cli/random_bank.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/base/threads.h"
#include "msa/memory/segment_layout.h"
#include "msa/storage/segment_file.h"

namespace msa::cli {
namespace {

constexpr int64_t kSegmentChunks = 32'768;
constexpr int64_t kWordBytes = 8;
constexpr size_t kWrittenBytes = size_t{64} << 20;  // at once
constexpr float kKeyScale = 1.0F / (32 * 73);       // 1,024 random bytes have about length 32 * 73

/// Numbers without a pattern: word `place` of stream `seed`.
uint64_t random_word(uint64_t seed, uint64_t place) {
  uint64_t z = (place + 1) * 0x9e3779b97f4a7c15U ^ seed;
  z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93U;
  return z ^ (z >> 32);
}

/// What makes a random word a row of finite numbers of one magnitude.
struct Masks {
  uint64_t kept = ~uint64_t{0};
  uint64_t set = 0;
};

Masks masks_of(storage::DataType type) {
  switch (type) {
    case storage::DataType::kF32:
      return {.kept = 0x807fffff807fffffU, .set = 0x3c8000003c800000U};  // [1, 2) / 64
    case storage::DataType::kBF16:
      return {.kept = 0x807f807f807f807fU, .set = 0x3c803c803c803c80U};
    case storage::DataType::kI8:
      return {.set = 0x0101010101010101U};  // odd: never -128
    default:
      return {};
  }
}

/// Scales of small steps: bfloat16 in [1, 2) / 4096, of either sign.
constexpr Masks kScaleMasks{.kept = 0x807f807f807f807fU, .set = 0x3980398039803980U};

/// A tensor of a file: bytes that are there, or random ones.
struct Part {
  std::string name;
  storage::DataType type = storage::DataType::kU8;
  std::vector<int64_t> shape;
  std::vector<std::byte> stored;  // empty: random
  uint64_t seed = 0;
  uint64_t row_bytes = 0;     // of quantised content, both whole words; 0: no scales in the rows
  uint64_t scale_offset = 0;  // where scales begin in a row
  uint64_t num_bytes = 0;
  uint64_t offset = 0;  // in the file

  /// Bytes [first, first + out.size()) of the part.
  void read(uint64_t first, std::span<std::byte> out) const {
    if (!stored.empty()) {
      std::memcpy(out.data(), stored.data() + first, out.size());
      return;
    }
    const Masks values = masks_of(type);
    for (uint64_t done = 0; done < out.size();) {
      const uint64_t at = first + done;
      const bool is_scale = row_bytes > 0 && at % row_bytes >= scale_offset;
      const Masks& masks = is_scale ? kScaleMasks : values;
      const uint64_t word = (random_word(seed, at / kWordBytes) & masks.kept) | masks.set;
      const uint64_t skipped = at % kWordBytes;
      const uint64_t count = std::min<uint64_t>(kWordBytes - skipped, out.size() - done);
      std::memcpy(out.data() + done, reinterpret_cast<const std::byte*>(&word) + skipped, count);
      done += count;
    }
  }
};

template <typename Value>
std::vector<std::byte> bytes_of(const std::vector<Value>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

/// The safetensors header of parts that stand one after the other; sets their offsets.
std::vector<std::byte> make_header(std::vector<Part>& parts, const memory::BankFacts& facts) {
  OrderedJson json;
  json["__metadata__"] = memory::segment_metadata(facts);
  uint64_t offset = 0;
  for (Part& part : parts) {
    json[part.name] = {{"dtype", storage::data_type_name(part.type)},
                       {"shape", part.shape},
                       {"data_offsets", {offset, offset + part.num_bytes}}};
    part.offset = offset;
    offset += part.num_bytes;
  }
  std::string text = json.dump();
  text.resize((text.size() + kWordBytes - 1) / kWordBytes * kWordBytes, ' ');
  const uint64_t length = text.size();
  std::vector<std::byte> header(sizeof length + length);
  std::memcpy(header.data(), &length, sizeof length);
  std::memcpy(header.data() + sizeof length, text.data(), length);
  for (Part& part : parts) part.offset += header.size();
  return header;
}

}  // namespace

struct RandomBank::Contents {
  std::vector<std::byte> header;
  std::vector<Part> parts;  // the last one holds the digests

  uint64_t size() const { return parts.back().offset + parts.back().num_bytes; }

  void read(uint64_t offset, std::span<std::byte> out) const {
    const auto copy = [&](uint64_t begin, uint64_t length, const auto& read_some) {
      const uint64_t from = std::max(begin, offset);
      const uint64_t to = std::min(begin + length, offset + out.size());
      if (from < to) read_some(from - begin, out.subspan(from - offset, to - from));
    };
    copy(0, header.size(), [&](uint64_t first, std::span<std::byte> some) {
      std::memcpy(some.data(), header.data() + first, some.size());
    });
    for (const Part& part : parts) {
      copy(part.offset, part.num_bytes,
           [&](uint64_t first, std::span<std::byte> some) { part.read(first, some); });
    }
  }
};

namespace {

class RandomFile final : public File {
 public:
  RandomFile(const RandomBank::Contents& contents, std::filesystem::path path)
      : contents_(contents), path_(std::move(path)) {}
  void read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (offset + out.size() > size()) {
      throw Error(ErrorCode::kCorruption, path_.string(), " ends before byte ",
                  offset + out.size());
    }
    contents_.read(offset, out);
  }
  void append(std::span<const std::byte>) override {
    throw Error(ErrorCode::kIo, path_.string(), " is only made up");
  }
  void sync() override {}
  uint64_t size() const override { return contents_.size(); }
  const std::filesystem::path& path() const override { return path_; }

 private:
  const RandomBank::Contents& contents_;
  std::filesystem::path path_;
};

[[noreturn]] void refuse(const std::filesystem::path& path) {
  throw Error(ErrorCode::kIo, path.string(), " is only made up");
}

}  // namespace

RandomBank::RandomBank(const memory::BankFacts& facts, int64_t num_chunks, int64_t document_chunks)
    : facts_(facts), document_chunks_(document_chunks) {
  const int64_t whole = kSegmentChunks / document_chunks * document_chunks;
  for (int64_t first = 0; first < num_chunks; first += whole) {
    add_segment(std::min(whole, num_chunks - first));
  }
}

RandomBank::~RandomBank() = default;

void RandomBank::add_segment(int64_t num_chunks) {
  const int64_t id = static_cast<int64_t>(rows_.size()) + 1;
  const memory::MemoryShape& shape = facts_.shape;
  std::vector<int64_t> first_chunk{0};
  std::vector<int64_t> ids;
  while (first_chunk.back() < num_chunks) {
    const int64_t count = std::min(document_chunks_, num_chunks - first_chunk.back());
    const int64_t passage = static_cast<int64_t>(passages_.size()) + 1;
    passages_.push_back({.id = passage,
                         .document = passage,
                         .tokens = count * shape.chunk_tokens,
                         .chunks = count,
                         .segment = id});
    first_chunk.push_back(first_chunk.back() + count);
    ids.push_back(passage);
  }
  auto contents = std::make_unique<Contents>();
  const auto add = [&](const char* name, storage::DataType type, const std::vector<int64_t>& sizes,
                       std::vector<std::byte> stored = {}) {
    int64_t num_bytes = storage::data_type_bytes(type);
    for (const int64_t size : sizes) num_bytes *= size;
    contents->parts.push_back(
        {.name = name,
         .type = type,
         .shape = sizes,
         .stored = std::move(stored),
         .seed = random_word(7, static_cast<uint64_t>(id) * 16 + contents->parts.size()),
         .num_bytes = static_cast<uint64_t>(num_bytes)});
  };
  const auto num_passages = static_cast<int64_t>(ids.size());
  add(memory::kFirstChunkTensor, storage::DataType::kI64, {num_passages + 1},
      bytes_of(first_chunk));
  add(memory::kPassageIdTensor, storage::DataType::kI64, {num_passages}, bytes_of(ids));
  if (facts_.key_type == kernels::NumberType::kInt8) {
    add(memory::kRoutingScaleTensor, storage::DataType::kF32, {shape.num_layers, num_chunks},
        bytes_of(std::vector<float>(shape.num_layers * num_chunks, kKeyScale)));
  }
  add(memory::kRoutingKeyTensor, memory::data_type(facts_.key_type),
      {shape.num_layers, num_chunks, shape.key_dim()});
  const memory::ContentTensor content = memory::content_tensor(facts_, num_chunks);
  add(memory::kContentTensor, content.type, content.shape);
  if (kernels::is_quantized(facts_.content_type)) {
    const kernels::ContentLayout layout = memory::content_layout(facts_);
    contents->parts.back().row_bytes = static_cast<uint64_t>(layout.row_bytes);
    contents->parts.back().scale_offset = static_cast<uint64_t>(layout.scale_offset);
  }

  // The header's length depends on the table's, and the table's on the header's.
  uint64_t data_bytes = 0;
  for (const Part& part : contents->parts) data_bytes += part.num_bytes;
  constexpr auto kBlock = static_cast<int64_t>(storage::kDigestBlockBytes);
  add(storage::kDigestTensor, storage::DataType::kU8, {0, 16});
  Part& table = contents->parts.back();
  int64_t num_blocks = 0;
  for (int64_t wanted = 1; wanted != num_blocks;) {
    num_blocks = wanted;
    table.shape.front() = num_blocks;
    table.num_bytes = static_cast<uint64_t>(num_blocks) * sizeof(storage::Digest);
    contents->header = make_header(contents->parts, facts_);
    wanted = (static_cast<int64_t>(contents->header.size() + data_bytes) + kBlock - 1) / kBlock;
  }
  std::vector<storage::Digest> digests(num_blocks);
  parallel_for(num_blocks, [&](int64_t block) {
    const auto first = static_cast<uint64_t>(block * kBlock);
    std::vector<std::byte> bytes(std::min(storage::kDigestBlockBytes, table.offset - first));
    contents->read(first, bytes);
    digests[block] = storage::digest_of(bytes);
  });
  table.stored = bytes_of(digests);
  const std::string name = memory::segment_file_name(id);
  rows_.push_back({.id = id,
                   .file = name,
                   .passages = num_passages,
                   .chunks = num_chunks,
                   .tokens = num_chunks * shape.chunk_tokens,
                   .bytes = static_cast<int64_t>(contents->size()),
                   .digest = storage::digest_of(table.stored)});
  contents_.emplace(name, std::move(contents));
}

std::unique_ptr<const memory::BankSegments> RandomBank::segments() {
  return std::make_unique<const memory::BankSegments>(*this, "", facts_, rows_, passages_);
}

std::unique_ptr<const memory::BankSegments> RandomBank::written_segments(
    const std::filesystem::path& folder) const {
  return std::make_unique<const memory::BankSegments>(real_file_system(), folder, facts_, rows_,
                                                      passages_);
}

std::vector<std::filesystem::path> RandomBank::write_to(const std::filesystem::path& folder) const {
  FileSystem& files = real_file_system();
  files.create_directory(folder / "segments");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : contents_) {
    const Contents& contents = *entry.second;
    paths.push_back(folder / "segments" / entry.first);
    const auto file = files.create(paths.back());
    std::vector<std::byte> some(kWrittenBytes);
    for (uint64_t first = 0; first < contents.size(); first += some.size()) {
      some.resize(std::min<uint64_t>(some.size(), contents.size() - first));
      constexpr uint64_t kPart = uint64_t{1} << 20;
      const auto num_parts = static_cast<int64_t>((some.size() + kPart - 1) / kPart);
      parallel_for(num_parts, [&](int64_t i) {
        const uint64_t begin = static_cast<uint64_t>(i) * kPart;
        contents.read(first + begin,
                      std::span(some).subspan(begin, std::min(kPart, some.size() - begin)));
      });
      file->append(some);
    }
    file->sync();
  }
  return paths;
}

std::unique_ptr<File> RandomBank::open_to_read(const std::filesystem::path& path) {
  const auto found = contents_.find(path.filename().string());
  if (found == contents_.end()) throw Error(ErrorCode::kNotFound, path.string(), " is not there");
  return std::make_unique<RandomFile>(*found->second, path);
}

bool RandomBank::exists(const std::filesystem::path& path) {
  return contents_.contains(path.filename().string());
}

std::unique_ptr<File> RandomBank::create(const std::filesystem::path& path) { refuse(path); }
void RandomBank::rename(const std::filesystem::path& from, const std::filesystem::path&) {
  refuse(from);
}
void RandomBank::remove(const std::filesystem::path& path) { refuse(path); }
void RandomBank::create_directory(const std::filesystem::path& path) { refuse(path); }
void RandomBank::remove_directory(const std::filesystem::path& path) { refuse(path); }
void RandomBank::sync_directory(const std::filesystem::path& path) { refuse(path); }
std::vector<std::string> RandomBank::list(const std::filesystem::path& path) { refuse(path); }
uint64_t RandomBank::free_bytes(const std::filesystem::path&) { return 0; }

void RandomBankFlags::add_to(CLI::App& command) {
  add_flag(command, "--chunks", chunks, "Chunks in memory")->check(CLI::Range(1, 1'000'000'000));
  add_flag(command, "--document-chunks", document_chunks, "Chunks of a document")
      ->check(CLI::Range(1, 1024));
  add_flag(command, "--key-type", key_type, "Of routing keys: bf16 or int8")
      ->check(CLI::IsMember({"bf16", "int8"}));
  add_flag(command, "--content-type", content_type, "Of K and V: f32, bf16, int8 or int4")
      ->check(CLI::IsMember({"f32", "bf16", "int8", "int4"}));
  add_placement_flags(command, gpu);
}

std::unique_ptr<RandomBank> RandomBankFlags::make(const model::ModelConfig& config) const {
  MSA_CHECK(config.has_memory(), "this model has no router layers: it cannot use a memory");
  memory::BankFacts facts;
  facts.model_fingerprint = "random";
  facts.shape = config.memory_shape();
  facts.key_type = kernels::number_type_of(key_type);
  facts.content_type = kernels::content_type_of(content_type);
  return std::make_unique<RandomBank>(facts, chunks, document_chunks);
}

}  // namespace msa::cli
