// msa completion: what a shell needs to complete commands and flags, made from the program itself.

#include "cli/command.h"

namespace msa::cli {
namespace {

std::vector<const CLI::App*> parts_of(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App*) { return true; });
}

/// Its name and its aliases.
std::string all_names_of(const CLI::App& command, const std::string& separator) {
  std::string names = command.get_name();
  for (const std::string& alias : command.get_aliases()) names += separator + alias;
  return names;
}

std::string names_of(const std::vector<const CLI::App*>& commands) {
  std::string names;
  for (const CLI::App* command : commands) names += all_names_of(*command, " ") + " ";
  return names;
}

std::string flags_of(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  return words;
}

/// The arms of a case over commands; `depth` is the place of the word that chooses among them.
std::string bash_cases(const std::vector<const CLI::App*>& commands, int depth) {
  const std::string indent(2 * static_cast<size_t>(depth), ' ');
  const std::string next = std::to_string(depth + 1);
  std::string cases;
  for (const CLI::App* command : commands) {
    cases += indent + all_names_of(*command, "|") + ")\n";
    cases += indent + "  words=\"" + flags_of(*command) + "\"\n";
    if (const auto parts = parts_of(*command); !parts.empty()) {
      cases += indent + "  [ \"$COMP_CWORD\" -eq " + next + " ] && words=\"" + names_of(parts) +
               "$words\"\n";
      cases += indent + "  case \"${COMP_WORDS[" + next + "]}\" in\n";
      cases += bash_cases(parts, depth + 1);
      cases += indent + "  esac\n";
    }
    cases += indent + "  ;;\n";
  }
  return cases;
}

std::string bash_script(const CLI::App& app) {
  return "_msa() {\n  local words=\"\" word=\"${COMP_WORDS[COMP_CWORD]}\"\n"
         "  case \"${COMP_WORDS[1]}\" in\n" +
         bash_cases(parts_of(app), 1) +
         "  esac\n"
         "  [ \"$COMP_CWORD\" -eq 1 ] && words=\"" +
         names_of(parts_of(app)) + flags_of(app) +
         "\"\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
         "complete -o default -F _msa msa\n";
}

std::string fish_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

/// Lines for the flags and parts of a command, `path` being its words behind "msa".
std::string fish_lines(const CLI::App& command, const std::string& path, int depth) {
  const std::string here = path.empty() ? "" : "__msa_at" + path;
  const std::string next =
      (here.empty() ? "" : here + "; and ") + "__msa_words " + std::to_string(depth + 1);
  std::string lines;
  for (const CLI::App* part : parts_of(command)) {
    lines += "complete -c msa -n " + fish_quoted(next) + " -f -a " + part->get_name() + " -d " +
             fish_quoted(part->get_description()) + "\n";
    lines += fish_lines(*part, path + " " + part->get_name(), depth + 1);
  }
  const std::string condition = path.empty() ? next : here;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      const bool takes_value = option->get_items_expected_max() > 0;
      lines += "complete -c msa -n " + fish_quoted(condition) + " -l " + name +
               (takes_value ? " -r" : "") + " -d " + fish_quoted(option->get_description()) + "\n";
    }
  }
  return lines;
}

std::string fish_script(const CLI::App& app) {
  return "function __msa_words\n"
         "    test (count (commandline -opc)) -eq $argv[1]\n"
         "end\n"
         "function __msa_at\n"
         "    set -l words (commandline -opc)\n"
         "    set -l last (math 1 + (count $argv))\n"
         "    test (count $words) -gt (count $argv)\n"
         "    and test \"$words[2..$last]\" = \"$argv\"\n"
         "end\n" +
         fish_lines(app, "", 0);
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand("completion", "Shell completion, to be sourced");
  command.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command.footer("Example: source <(msa completion bash)");
  command.callback([shell, &app] {
    if (*shell == "zsh") print("autoload -U +X bashcompinit && bashcompinit\n");
    print(*shell == "fish" ? fish_script(app) : bash_script(app));
  });
}

}  // namespace msa::cli
