#include "msa/memory/bank_facts.h"

#include <algorithm>
#include <initializer_list>

#include "msa/base/error.h"
#include "msa/memory/catalog_rows.h"

namespace msa::memory {
namespace {

/// The one of `types` that has the name.
template <typename Type>
Type parse_type(const std::string& name, std::initializer_list<Type> types,
                const std::string& what) {
  for (const Type type : types) {
    if (name == kernels::name_of(type)) return type;
  }
  throw Error(ErrorCode::kCorruption, what, ": \"", name, "\" is no type of number");
}

int64_t oldest_format(kernels::ContentType content_type) {
  return kernels::is_quantized(content_type) ? 2 : 1;
}

}  // namespace

std::map<std::string, std::string> facts_to_text(const BankFacts& f) {
  return {{"format", std::to_string(oldest_format(f.content_type))},
          {"model_fingerprint", f.model_fingerprint},
          {"tokenizer_fingerprint", f.tokenizer_fingerprint},
          {"model_name", f.model_name},
          {"router_layers", std::to_string(f.shape.num_layers)},
          {"kv_heads", std::to_string(f.shape.num_kv_heads)},
          {"head_dim", std::to_string(f.shape.head_dim)},
          {"chunk_tokens", std::to_string(f.shape.chunk_tokens)},
          {"max_passage_tokens", std::to_string(f.max_passage_tokens)},
          {"key_type", std::string(kernels::name_of(f.key_type))},
          {"content_type", std::string(kernels::name_of(f.content_type))}};
}

BankFacts facts_from(const std::map<std::string, std::string>& all, const std::string& what) {
  const auto text = [&](const char* key) {
    const auto found = all.find(key);
    if (found == all.end()) {
      throw Error(ErrorCode::kCorruption, what, ": the fact \"", key, "\" is missing");
    }
    return found->second;
  };
  const auto number = [&](const char* key) {
    const std::string value = text(key);
    const bool is_number =
        !value.empty() && value.size() < 19 &&
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) {
      throw Error(ErrorCode::kCorruption, what, ": the fact \"", key, "\" is no number");
    }
    return std::stoll(value);
  };
  if (number("format") > kBankFormatVersion) {
    throw Error(ErrorCode::kInvalidFormat, what, " has the format ", number("format"),
                ", this program reads up to ", kBankFormatVersion, ": use a newer one");
  }
  if (number("format") >= kFormatWithDead) {
    for (const char* key : {kGenerationFact, kNextDocumentFact, kDocumentsFact, kPassagesFact}) {
      number(key);
    }
  }
  const auto side = [&](const char* key, int64_t most) {
    const int64_t value = number(key);
    if (value < 1 || value > most) {
      throw Error(ErrorCode::kCorruption, what, ": the fact \"", key, "\" must be in [1, ", most,
                  "], it is ", value);
    }
    return value;
  };
  using kernels::ContentType;
  using kernels::NumberType;
  const auto content_type = parse_type(
      text("content_type"),
      {ContentType::kFloat32, ContentType::kBFloat16, ContentType::kInt8, ContentType::kInt4},
      what);
  if (number("format") < oldest_format(content_type)) {
    throw Error(ErrorCode::kCorruption, what, ": a bank of the format ", number("format"),
                " has no content of type ", kernels::name_of(content_type));
  }
  return {
      .model_fingerprint = text("model_fingerprint"),
      .tokenizer_fingerprint = text("tokenizer_fingerprint"),
      .model_name = text("model_name"),
      .shape = {.num_layers = side("router_layers", 512),
                .num_kv_heads = side("kv_heads", 1024),
                .head_dim = side("head_dim", 65536),
                .chunk_tokens = side("chunk_tokens", 65536)},
      .max_passage_tokens = number("max_passage_tokens"),
      .key_type = parse_type(
          text("key_type"), {NumberType::kFloat32, NumberType::kBFloat16, NumberType::kInt8}, what),
      .content_type = content_type};
}

void expect_equal(const BankFacts& bank, const BankFacts& wanted, const std::string& what) {
  const auto have = facts_to_text(bank);
  for (const auto& [key, value] : facts_to_text(wanted)) {
    if (key == "model_name" || have.at(key) == value) continue;
    throw Error(ErrorCode::kMismatch, what, " was made with ", key, " ", have.at(key), " (model ",
                bank.model_name, "), this is ", value, " (model ", wanted.model_name, ")");
  }
}

}  // namespace msa::memory
