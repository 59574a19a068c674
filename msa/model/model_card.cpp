#include "msa/model/model_card.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <vector>

#include "msa/base/error.h"
#include "msa/storage/safetensors.h"

namespace msa::model {
namespace {

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line(text.substr(begin, end - begin));
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

/// The key of a header's line at the margin; empty if it is none.
std::string key_of(const std::string& line) {
  const size_t end = line.find(':');
  const bool ends_well =
      end != std::string::npos && (end + 1 == line.size() || line[end + 1] == ' ');
  const auto is_of_key = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  };
  if (!ends_well || line[0] == '-' ||
      !std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(end), is_of_key))
    return {};
  return line.substr(0, end);
}

/// Checks the header, which begins at lines[0], and returns its keys; `num_lines` is set to its
/// lines with both borders.
std::set<std::string> read_header(const std::vector<std::string>& lines, std::string_view what,
                                  size_t& num_lines) {
  std::set<std::string> keys;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string& line = lines[i];
    if (line == "---") {
      num_lines = i + 1;
      return keys;
    }
    const bool goes_on = line.starts_with(' ') || line.starts_with("- ");
    if (line.empty() || line.starts_with('#') || (goes_on && !keys.empty())) continue;
    const std::string key = key_of(line);
    if (key.empty()) {
      throw Error(ErrorCode::kInvalidFormat, what, " line ", i + 1,
                  ": a line of the header must be \"key: value\", got \"", line.substr(0, 60),
                  "\"");
    }
    if (!keys.insert(key).second) {
      throw Error(ErrorCode::kInvalidFormat, what, " line ", i + 1, ": the key \"", key,
                  "\" came before");
    }
  }
  throw Error(ErrorCode::kInvalidFormat, what,
              ": the header that begins in line 1 has no end, a line of ---");
}

/// 16522368 as 16,522,368.
std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (size_t place = text.size(); place > 3;) text.insert(place -= 3, ",");
  return text;
}

std::string shape_table(const CardFacts& facts) {
  const ModelConfig& config = facts.config;
  std::string text = "## Shape\n\n| | |\n|---|---|\n";
  const auto add = [&](const std::string& what, const std::string& value) {
    text += "| " + what + " | " + value + " |\n";
  };
  add("parameters", grouped(facts.num_parameters) + " in " + facts.types);
  if (facts.num_int8 > 0) {
    add("rounded to int8", grouped(facts.num_int8) +
                               " parameters, with one scale a row (compressed-tensors, "
                               "int-quantized)");
  }
  if (facts.num_bytes > 0)
    add("tensors", grouped(static_cast<int64_t>(facts.num_bytes)) + " bytes");
  add("layers", std::to_string(config.num_layers) + ", hidden size " + grouped(config.embed_dim) +
                    ", feed-forward " + grouped(config.ffn_dim));
  add("attention", std::to_string(config.num_heads) + " query heads, " +
                       std::to_string(config.num_kv_heads) + " key/value heads of " +
                       std::to_string(config.head_dim) + ", rope theta " +
                       grouped(static_cast<int64_t>(config.rope_theta)));
  add("vocabulary", grouped(config.vocab_size) +
                        (config.ties_embeddings ? ", tied embeddings" : ", a head of its own"));
  if (!config.has_memory()) return text;
  std::string layers = storage::shape_text(config.msa.router_layers);
  add("router layers", layers.substr(1, layers.size() - 2));
  add("memory", "chunks of " + std::to_string(config.msa.chunk_tokens) + " tokens, the best " +
                    std::to_string(config.msa.top_k) + " documents in each router layer");
  if (facts.has_fresh_routers) {
    text +=
        "\nThe routers are copies of the attention's key projections, tied: nothing has trained "
        "them yet.\n";
  }
  return text;
}

}  // namespace

std::string model_card(std::string_view given, std::string_view what, const CardFacts& facts) {
  const std::vector<std::string> lines = lines_of(given);
  const bool has_header = !lines.empty() && lines[0] == "---";
  size_t num_header_lines = 0;
  std::set<std::string> keys;
  if (has_header) keys = read_header(lines, what, num_header_lines);

  std::string header = "---\n";
  for (size_t i = 1; i + 1 < num_header_lines; ++i) header += lines[i] + "\n";
  const bool has_memory = facts.config.has_memory();
  if (!keys.contains("library_name")) {
    header += std::string("library_name: ") + (has_memory ? "msa" : "transformers") + "\n";
  }
  if (has_memory && !keys.contains("tags")) header += "tags:\n- memory-sparse-attention\n";

  std::string body;
  bool has_title = false;
  bool has_shape = false;
  for (size_t i = num_header_lines; i < lines.size(); ++i) {
    has_title |= lines[i].starts_with("# ");
    has_shape |= lines[i] == "## Shape";
    body += lines[i] + "\n";
  }
  while (body.starts_with('\n')) body.erase(0, 1);
  if (!has_title) body = "# " + facts.name + "\n" + (body.empty() ? "" : "\n") + body;
  if (!has_shape) body += "\n" + shape_table(facts);
  return header + "---\n" + body;
}

}  // namespace msa::model
