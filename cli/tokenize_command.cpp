// msa tokenize, msa info: what a model folder says.

#include <cstdio>
#include <iostream>

#include "cli/command.h"
#include "msa/base/error.h"
#include "msa/corpus/line_reader.h"
#include "msa/text/tokenizer.h"

namespace msa::cli {
namespace {

OrderedJson encoding_json(const text::Tokenizer& tokenizer, std::string_view text) {
  const auto encoding = tokenizer.encode_with_offsets(text);
  OrderedJson offsets = OrderedJson::array();
  for (const auto& [first, end] : encoding.offsets) offsets.push_back({first, end});
  return {{"ids", encoding.ids}, {"offsets", std::move(offsets)}};
}

void tokenize(const std::string& folder, const std::string& jsonl,
              const std::vector<std::string>& texts) {
  const auto tokenizer = text::Tokenizer::load(real_file_system(), folder);
  for (const std::string& text : texts) print_json(encoding_json(*tokenizer, text));
  if (jsonl.empty()) {
    MSA_CHECK(!texts.empty(), "give TEXT or --jsonl FILE");
    return;
  }
  int64_t number = 0;
  const auto handle = [&](const std::string& line) {
    const std::string what = jsonl + " line " + std::to_string(++number);
    const Json json = parse_json(line, what);
    print(to_line(encoding_json(*tokenizer, json_string(json, "text", what))) + "\n");
  };
  std::string line;
  if (jsonl == "-") {
    while (std::getline(std::cin, line)) handle(line);
  } else {
    corpus::LineReader lines(real_file_system(), jsonl);
    while (lines.next(line)) handle(line);
  }
}

void info(const ModelFlags& flags, bool is_json) {
  const auto model = flags.load(false);
  const auto& config = model->config();
  const OrderedJson json{{"name", model->name()},
                         {"fingerprint", model->fingerprint()},
                         {"tokenizer_fingerprint", model->tokenizer_fingerprint()},
                         {"parameters", model->num_parameters()},
                         {"layers", config.num_layers},
                         {"hidden_size", config.embed_dim},
                         {"intermediate_size", config.ffn_dim},
                         {"heads", config.num_heads},
                         {"kv_heads", config.num_kv_heads},
                         {"head_dim", config.head_dim},
                         {"vocab_size", config.vocab_size},
                         {"tokenizer_size", model->tokenizer().vocab_size()},
                         {"tied_embeddings", config.ties_embeddings},
                         {"router_layers", config.msa.router_layers},
                         {"chunk_tokens", config.msa.chunk_tokens},
                         {"top_k", config.msa.top_k}};
  if (is_json) {
    print_json(json);
    return;
  }
  for (const auto& [key, value] : json.items()) {
    std::printf("%-22s %s\n", key.c_str(),
                value.is_string() ? value.get<std::string>().c_str() : to_line(value).c_str());
  }
}

}  // namespace

void add_tokenize(CLI::App& app) {
  struct Flags {
    std::string folder;
    std::string jsonl;
    std::vector<std::string> texts;
    bool is_json = true;  // always
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *app.add_subcommand("tokenize", "Token ids and byte offsets of text, as JSON lines");
  add_flag(command, "--model", flags->folder, "Folder with a tokenizer")->required();
  command.add_option("--jsonl", flags->jsonl, "File of {\"text\"} lines, - for standard input");
  command.add_flag("--json", flags->is_json, "The output is JSON, with or without this flag");
  command.add_option("TEXT", flags->texts, "Texts");
  command.footer("Example: msa tokenize --model models/msa-tiny \"How many tokens?\"");
  command.callback([flags] { tokenize(flags->folder, flags->jsonl, flags->texts); });
}

void add_info(CLI::App& app) {
  auto flags = std::make_shared<std::pair<ModelFlags, bool>>();
  CLI::App& command = *app.add_subcommand("info", "Shape and fingerprint of a model");
  command.add_option("MODEL", flags->first.folder, "Model folder (default: the embedded model)")
      ->envname("MSA_MODEL");
  command.add_flag("--json", flags->second, "Print JSON");
  command.footer("Example: msa info models/msa-tiny --json");
  command.callback([flags] { info(flags->first, flags->second); });
}

}  // namespace msa::cli
