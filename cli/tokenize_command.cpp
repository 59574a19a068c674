// msa tokenize, msa info, msa completion: what a model folder says.

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
    std::fputs((to_line(encoding_json(*tokenizer, json_string(json, "text", what))) + "\n").c_str(),
               stdout);
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
                         {"parameters", model->transformer().weights().num_parameters},
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

/// Words to complete: subcommands first, then the flags of the one chosen.
void print_completion(const CLI::App& app, const std::string& shell) {
  std::string commands;
  std::string cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    commands += command->get_name() + " ";
    std::string words;
    for (const CLI::App* part : command->get_subcommands({})) words += part->get_name() + " ";
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
    }
    cases += "    " + command->get_name() + ") words=\"" + words + "\" ;;\n";
  }
  if (shell == "fish") {
    std::printf("complete -c msa -n __fish_use_subcommand -a '%s'\n", commands.c_str());
    return;
  }
  if (shell == "zsh") std::printf("autoload -U +X bashcompinit && bashcompinit\n");
  std::printf(
      "_msa() {\n  local words=\"%s\"\n  case \"${COMP_WORDS[1]}\" in\n%s  esac\n"
      "  [ \"$COMP_CWORD\" -eq 1 ] && words=\"%s\"\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "
      "\"${COMP_WORDS[COMP_CWORD]}\"))\n}\n"
      "complete -F _msa msa\n",
      commands.c_str(), cases.c_str(), commands.c_str());
}

}  // namespace

void add_tokenize(CLI::App& app) {
  struct Flags {
    std::string folder;
    std::string jsonl;
    std::vector<std::string> texts;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& command =
      *app.add_subcommand("tokenize", "Token ids and byte offsets of text, as JSON lines");
  command.add_option("--model", flags->folder, "Folder with a tokenizer")
      ->envname("MSA_MODEL")
      ->required();
  command.add_option("--jsonl", flags->jsonl, "File of {\"text\"} lines, - for standard input");
  command.add_option("TEXT", flags->texts, "Texts");
  command.footer("Example: msa tokenize --model models/msa-proto \"How many tokens?\"");
  command.callback([flags] { tokenize(flags->folder, flags->jsonl, flags->texts); });
}

void add_info(CLI::App& app) {
  auto flags = std::make_shared<std::pair<ModelFlags, bool>>();
  CLI::App& command = *app.add_subcommand("info", "Shape and fingerprint of a model");
  command.add_option("MODEL", flags->first.folder, "Model folder (default: the embedded model)");
  command.add_flag("--json", flags->second, "Print JSON");
  command.footer("Example: msa info models/msa-proto --json");
  command.callback([flags] { info(flags->first, flags->second); });
}

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand("completion", "Shell completion, to be sourced");
  command.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command.footer("Example: source <(msa completion bash)");
  command.callback([shell, &app] { print_completion(app, *shell); });
}

}  // namespace msa::cli
