// Prints what the program's own reader finds in a bank, for another reader to compare with; or
// makes a bank of random documents.
//
// usage: bank_values FOLDER
//        bank_values --make FOLDER KEY_TYPE CONTENT_TYPE

#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_writer.h"
#include "msa/memory/random_batch.h"

namespace msa::memory {
namespace {

std::string hex(std::span<const float> values) {
  std::string text;
  char digits[3];
  for (const std::byte byte : std::as_bytes(values)) {
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

/// The largest and the smallest value of every place of a document's keys in a layer, each divided
/// by the number of heads: scores of queries of a single one. [documents][2 F].
std::vector<std::vector<float>> key_bounds(const ChunkSource& source, int64_t layer) {
  const MemoryShape& shape = source.shape();
  const auto num_documents = static_cast<size_t>(source.num_documents());
  std::vector<std::vector<float>> bounds(num_documents);
  std::vector<float> query(static_cast<size_t>(shape.key_dim()));
  std::vector<float> scores(num_documents);
  for (const float one : {1.0F, -1.0F}) {
    for (float& value : query) {
      value = one;
      source.route(
          layer,
          {.values = query.data(), .num_tokens = 1, .num_heads = shape.num_kv_heads, .rule = {}}, 1,
          scores);
      value = 0;
      for (size_t n = 0; n < num_documents; ++n) bounds[n].push_back(one * scores[n]);
    }
  }
  return bounds;
}

void print(const std::filesystem::path& folder) {
  const auto bank = Bank::open(real_file_system(), folder);
  const auto source = bank->source();
  const MemoryShape& shape = bank->facts().shape;
  std::vector<std::vector<std::vector<float>>> bounds;
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    bounds.push_back(key_bounds(*source, layer));
  }
  for (size_t place = 0; place < bank->passages().size(); ++place) {
    const Passage& passage = bank->passages()[place];
    const Document document = bank->document_of(passage).value();
    nlohmann::json line{{"id", passage.id},
                        {"start", passage.start},
                        {"end", passage.end},
                        {"tokens", passage.tokens},
                        {"chunks", passage.chunks},
                        {"segment", passage.segment},
                        {"document", document.row},
                        {"name", document.name},
                        {"title", document.title},
                        {"text", document.text},
                        {"attributes", document.attributes},
                        {"source", document.source}};
    std::vector<float> key(static_cast<size_t>(passage.chunks * shape.key_dim()));
    std::vector<float> value(key.size());
    const auto number = static_cast<int64_t>(place);
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      source->fetch(layer, std::span(&number, 1), key.data(), value.data());
      line["key"].push_back(hex(key));
      line["value"].push_back(hex(value));
      line["routing"].push_back(hex(bounds[static_cast<size_t>(layer)][place]));
    }
    std::printf("%s\n", line.dump().c_str());
  }
}

template <typename Type>
Type type_called(std::string_view name, std::initializer_list<Type> types) {
  for (const Type type : types) {
    if (kernels::name_of(type) == name) return type;
  }
  throw Error(ErrorCode::kInvalidArgument, "no type is called ", name);
}

/// Segments of several blocks; documents that are replaced, deleted and merged with others.
void make(const std::filesystem::path& folder, std::string_view key_type,
          std::string_view content_type) {
  using kernels::ContentType;
  using kernels::NumberType;
  const MemoryShape shape{.num_layers = 2, .num_kv_heads = 4, .head_dim = 20, .chunk_tokens = 16};
  const BankFacts facts{
      .model_fingerprint = "model",
      .tokenizer_fingerprint = "tokenizer",
      .model_name = "random",
      .shape = shape,
      .max_passage_tokens = 1000,
      .key_type =
          type_called(key_type, {NumberType::kFloat32, NumberType::kBFloat16, NumberType::kInt8}),
      .content_type = type_called(content_type, {ContentType::kFloat32, ContentType::kBFloat16,
                                                 ContentType::kInt8, ContentType::kInt4})};
  const auto writer = BankWriter::open(real_file_system(), folder, facts);
  const auto commit = [&](int64_t documents, uint32_t seed) {
    RandomBatch batch = make_random_batch(shape, {.first_id = writer->next_passage_id(),
                                                  .num_documents = documents,
                                                  .max_passages = 3,
                                                  .max_chunks = 5,
                                                  .seed = seed});
    batch.documents.front().name = "replaced";
    batch.documents.front().text += "\u00e4\u4e2d\U0001F600";
    batch.documents.front().attributes = R"({"a":["\u00e9",1.5,null]})";
    writer->commit(batch.documents, batch.encoded, KnownName::kReplace);
  };
  commit(/*documents=*/30, /*seed=*/1);
  commit(/*documents=*/6, /*seed=*/2);
  commit(/*documents=*/3, /*seed=*/3);
  const auto bank = Bank::open(real_file_system(), folder);
  std::vector<std::string> names;
  for (const Document& document : bank->list(/*offset=*/8, /*limit=*/9)) {
    names.push_back(document.name);
  }
  writer->forget(names);
}

}  // namespace
}  // namespace msa::memory

int main(int argc, char** argv) {
  try {
    if (argc == 5 && std::string_view(argv[1]) == "--make") {
      msa::memory::make(argv[2], argv[3], argv[4]);
    } else if (argc == 2) {
      msa::memory::print(argv[1]);
    } else {
      std::fprintf(stderr, "usage: bank_values FOLDER | --make FOLDER KEY_TYPE CONTENT_TYPE\n");
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bank_values: %s\n", error.what());
    return 1;
  }
  return 0;
}
