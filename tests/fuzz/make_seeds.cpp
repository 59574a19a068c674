// make_seeds FOLDER: what the fuzzers begin with, FOLDER/<fuzzer>/, made by the writers of the
// formats and from tests/data.

#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "msa/base/test_paths.h"
#include "msa/memory/segment_layout.h"
#include "msa/model/int8_config.h"
#include "msa/samples/token_store.h"
#include "msa/storage/segment_file.h"
#include "msa/text/word_splitter.h"
#include "tests/fuzz/segment_input.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

using storage::DataType;

class Seeds {
 public:
  explicit Seeds(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void add(const std::string& fuzzer, std::string_view bytes) {
    std::filesystem::create_directories(folder_ / fuzzer);
    const std::string name = "seed" + std::to_string(++count_);
    std::ofstream(folder_ / fuzzer / name, std::ios::binary) << bytes;
  }

 private:
  std::filesystem::path folder_;
  int count_ = 0;
};

std::string read(const char* path) {
  std::ifstream file(source_folder() / path, std::ios::binary);
  return (std::ostringstream() << file.rdbuf()).str();
}

void add_safetensors(Seeds& seeds) {
  const std::string data(64, 'x');
  const auto bytes = std::as_bytes(std::span(data));
  MemoryFiles files;
  const auto add = [&](const std::vector<storage::TensorToWrite>& tensors,
                       const std::map<std::string, std::string>& metadata) {
    write_safetensors(files, "x", tensors, metadata);
    seeds.add("safetensors_fuzz", files.at("x"));
  };
  add({}, {});
  add({}, {{"format", "pt"}});
  for (const auto type :
       {DataType::kBool, DataType::kU8, DataType::kI8, DataType::kF8E4M3, DataType::kF8E5M2,
        DataType::kI16, DataType::kU16, DataType::kF16, DataType::kBF16, DataType::kI32,
        DataType::kU32, DataType::kF32, DataType::kI64, DataType::kU64, DataType::kF64}) {
    const int64_t size = storage::data_type_bytes(type);
    add({{"a", type, {2, 16 / size}, bytes.first(32)}, {"b", type, {}, bytes.first(size)}},
        {{"k", "v"}});
    add({{"z", type, {0, 3}, {}}, {"y", type, {1, 1, 1, 1, 1, 1, 1, 1}, bytes.first(size)}}, {});
  }
}

/// Weights as a model folder has them, plain and as int8 with scales of each type.
void add_weights(Seeds& seeds) {
  const std::string data(64, '\3');
  const auto bytes = std::as_bytes(std::span(data));
  MemoryFiles files;
  for (const auto type : {DataType::kF32, DataType::kBF16, DataType::kF16}) {
    const auto size = static_cast<size_t>(storage::data_type_bytes(type));
    const storage::TensorToWrite matrix{"a.weight", type, {3, 4}, bytes.first(12 * size)};
    const storage::TensorToWrite vector{"c.weight", type, {6}, bytes.first(6 * size)};
    const storage::TensorToWrite scalar{"d", type, {1}, bytes.first(size)};
    write_safetensors(files, "x", std::vector{matrix, vector, scalar});
    seeds.add("weights_fuzz", files.at("x"));
    write_safetensors(
        files, "x",
        std::vector<storage::TensorToWrite>{matrix,
                                            {"b.weight_scale", type, {2, 1}, bytes.first(2 * size)},
                                            {"b.weight", DataType::kI8, {2, 5}, bytes.first(10)}});
    seeds.add("weights_fuzz", files.at("x"));
  }
}

/// Segments as a bank has them, of two layers and two passages; of the large one `filler` blocks
/// are left out, which the fuzzer puts in again.
void add_segments(Seeds& seeds) {
  struct Types {
    kernels::ContentType content_type;
    kernels::NumberType key_type;
    int64_t num_chunks;
    uint8_t filler;
  };
  using kernels::ContentType;
  using kernels::NumberType;
  for (const Types& t : {Types{ContentType::kFloat32, NumberType::kFloat32, 3, 0},
                         Types{ContentType::kBFloat16, NumberType::kBFloat16, 3, 0},
                         Types{ContentType::kInt8, NumberType::kInt8, 3, 0},
                         Types{ContentType::kInt4, NumberType::kBFloat16, 3, 0},
                         Types{ContentType::kFloat32, NumberType::kFloat32, 690, 1}}) {
    memory::BankFacts facts = segment_facts();
    facts.content_type = t.content_type;
    facts.key_type = t.key_type;
    const int64_t ids[] = {4, 9};
    const int64_t first[] = {0, 1, t.num_chunks};
    const memory::ContentTensor content = memory::content_tensor(facts, t.num_chunks);
    const int64_t layers = facts.shape.num_layers;
    const std::string data(size_t{1} << 20, kSegmentFiller);
    const auto bytes = std::as_bytes(std::span(data));
    std::vector<storage::TensorToWrite> tensors{
        {memory::kPassageIdTensor, DataType::kI64, {2}, std::as_bytes(std::span(ids))},
        {memory::kFirstChunkTensor, DataType::kI64, {3}, std::as_bytes(std::span(first))}};
    const auto add = [&](const char* name, DataType type, const std::vector<int64_t>& shape) {
      auto size = static_cast<size_t>(storage::data_type_bytes(type));
      for (const int64_t side : shape) size *= static_cast<size_t>(side);
      tensors.push_back({name, type, shape, bytes.first(size)});
    };
    if (t.key_type == NumberType::kInt8) {
      add(memory::kRoutingScaleTensor, DataType::kF32, {layers, t.num_chunks});
    }
    add(memory::kRoutingKeyTensor, memory::data_type(t.key_type),
        {layers, t.num_chunks, facts.shape.key_dim()});
    add(memory::kContentTensor, content.type, content.shape);
    MemoryFiles files;
    storage::write_segment(files, "x", tensors, memory::segment_metadata(facts));
    const SegmentPrefix prefix{.content_type = static_cast<uint8_t>(t.content_type),
                               .key_type = static_cast<uint8_t>(t.key_type),
                               .passages = 2,
                               .filler = t.filler,
                               .chunks = static_cast<uint16_t>(t.num_chunks)};
    seeds.add("segment_fuzz", prefix_bytes(prefix) + without_filler(prefix, files.at("x")));
  }
}

void add_banks(Seeds& seeds) {
  for (const char* bank : {"1", "2_int4", "2_int8", "3"}) {
    const std::string folder = std::string("tests/data/bank_format_") + bank;
    seeds.add("catalog_fuzz", read((folder + "/catalog.db").c_str()));
  }
  for (char kind = 0; kind < 8; ++kind) {
    std::string changes;
    for (char n = 1; n < 12; ++n) changes += static_cast<char>(n * 37 + kind);
    seeds.add("bank_rows_fuzz", changes + kind);
  }
}

void add_json(Seeds& seeds) {
  for (const char* text :
       {R"({"i":7,"n":1.5e3,"b":true,"s":"\u00e4\ud83d\ude00","h":null,"a":[[],{},[-0,1e-9]]})",
        "[18446744073709551615,-9223372036854775808,0.1]", "\"\\\\\\\"\\n\"",
        "{\"a\":{\"a\":{}}}"}) {
    seeds.add("json_fuzz", text);
  }
  for (
      const char* text :
      {R"({"metadata":{"total_size":24},"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})",
       R"({"weight_map":{"a":"../1.safetensors"}})", R"({"weight_map":{"c":"2.safetensors"}})"}) {
    seeds.add("index_fuzz", text);
  }
  for (const char* path : {"tests/data/golden/tiny-msa/config.json",
                           "tests/data/golden/qwen3/config.json", "configs/smoke_model.json"}) {
    seeds.add("config_fuzz", "m" + read(path));
  }
  const std::string plain = read("configs/smoke_model.json");
  seeds.add("config_fuzz", "m" + plain.substr(0, plain.rfind('}')) + R"(,"quantization_config":)" +
                               to_line(model::int8_config()) + "}");
  seeds.add("config_fuzz", R"(g{"eos_token_id":[1,2,3]})");
  seeds.add("config_fuzz",
            R"(m{"model_type":"msa","num_hidden_layers":2,"hidden_size":8,"intermediate_size":8,)"
            R"("num_attention_heads":2,"num_key_value_heads":1,"vocab_size":9,"rms_norm_eps":1e-6,)"
            R"("rope_theta":10000,"eos_token_id":[1,8],"msa_config":{"router_layer_idx":"0,1"}})");
  for (const char* path : {"configs/smoke.toml", "configs/msa_tiny.toml"}) {
    seeds.add("config_fuzz", "t" + read(path));
  }
}

/// The smallest vocabulary: a token a byte, in the spelling of such files.
std::string small_tokenizer(const std::string& pre_tokenizer, const std::string& normalizer) {
  std::string vocab;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const int c = is_printable ? byte : next++;
    char spelling[16];
    std::snprintf(spelling, sizeof spelling, "\"\\u%04x\":", static_cast<unsigned>(c));
    vocab += spelling + std::to_string(byte) + ",";
  }
  return R"({"added_tokens":[{"id":258,"content":"<|end|>"}],"normalizer":)" + normalizer +
         R"(,"pre_tokenizer":)" + pre_tokenizer + R"(,"model":{"type":"BPE","vocab":{)" + vocab +
         R"("he":256,"hel":257},"merges":["h e",["he","l"]]}})";
}

void add_texts(Seeds& seeds) {
  std::string pattern;
  for (const char c : text::pattern_of(text::SplitRule::kQwen2)) {
    if (c == '\\') pattern += '\\';
    pattern += c;
  }
  seeds.add("tokenizer_fuzz", small_tokenizer(R"({"type":"ByteLevel"})", "null"));
  seeds.add("tokenizer_fuzz",
            small_tokenizer(R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":)"
                            R"({"Regex":")" +
                                pattern +
                                R"("},"behavior":"Isolated","invert":false},)"
                                R"({"type":"ByteLevel","use_regex":false}]})",
                            R"({"type":"NFC"})"));
  const std::string folder = "tests/data/golden/tiny-msa/";
  std::string parts;
  for (const char* file :
       {"vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json"}) {
    parts += '\xFF' + read((folder + file).c_str());
  }
  seeds.add("tokenizer_fuzz", parts);
  for (const char* text :
       {"Hello, world's  best\n\n\ttest 123", "<|im_start|>user\n[1]. x<|im_end|>",
        "e\xCC\x81\xCC\xA7 \xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8 \xEF\xAC\x81 \xF0\x9F\x98\x80",
        "\xE4\xBD\xA0\xE5\xA5\xBD\xE3\x80\x82 don't   we'LL",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    seeds.add("encode_fuzz", text);
  }
}

void add_documents(Seeds& seeds) {
  const std::string jsonl =
      "{\"id\":\"d1\",\"title\":\"T\",\"text\":\"Hello.\",\"year\":[1999]}\r\n\n"
      "{\"id\":7,\"text\":\"\\u00e4\"}\n{\"text\":\" \"}\nnone\n"
      "{\"question\":\"q\",\"id\":1,\"answers\":[\"a\",2],\"documents\":[\"d1\"]}\n";
  const std::string markdown = "\xEF\xBB\xBF# Title #\n\nText.\n";
  for (const auto& [kind, text] :
       {std::pair('\0', jsonl), std::pair('\1', markdown), std::pair('\2', markdown)}) {
    seeds.add("documents_fuzz", kind + text);
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
    seeds.add("documents_fuzz", static_cast<char>(kind + 3) + packed);
    seeds.add("documents_fuzz", static_cast<char>(kind + 9) + text);
  }
}

void add_token_stores(Seeds& seeds) {
  for (const int64_t vocab_size : {1000, 100000}) {
    samples::TokenStoreWriter writer(vocab_size);
    samples::FrameTokens frames{.heads = {{{1, 2}, {1, 2}}},
                                .body = {3, 4, 5},
                                .tails = {{{{{6}, {7}}}, {{{6}, {8, 9}}}}},
                                .num_text_tokens = 3};
    writer.add("d1", "Title", "Text", frames);
    writer.add("d2", "", "Other", frames);
    MemoryFiles files;
    writer.write(files, "x", {});
    seeds.add("token_store_fuzz", files.at("x"));
  }
}

}  // namespace
}  // namespace msa::fuzz

int main(int argc, char** argv) {
  using namespace msa::fuzz;
  if (argc != 2) {
    std::cerr << "usage: make_seeds FOLDER\n";
    return 2;
  }
  Seeds seeds(argv[1]);
  add_safetensors(seeds);
  add_weights(seeds);
  add_segments(seeds);
  add_banks(seeds);
  add_json(seeds);
  add_texts(seeds);
  add_documents(seeds);
  add_token_stores(seeds);
  return 0;
}
