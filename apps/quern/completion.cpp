// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/strings.h"
#include "commands.h"

namespace quern::cli {
namespace {

struct Flag {
  std::string name, help;
};

/// Visible long flags of one command, and of what it has below it.
std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::App* sub : app.get_subcommands({})) {
    for (const Flag& flag : flags_of(*sub)) {
      if (flag.name != "--help") flags.push_back(flag);
    }
  }
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->get_group().empty()) continue;
    flags.push_back({"--" + option->get_lnames()[0], option->get_description()});
  }
  return flags;
}

std::string names_of(const std::vector<Flag>& flags) {
  std::vector<std::string> names;
  for (const Flag& flag : flags) names.push_back(flag.name);
  return join(names, " ");
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) names.push_back(sub->get_name());
  return names;
}

std::string bash_script(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    cases += fmt::format("    {}) flags=\"{}\" ;;\n", sub->get_name(), names_of(flags_of(*sub)));
  }
  return fmt::format(
      R"sh(# bash completion of quern
_quern() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" flags=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  else
    local tasks=""
    if [ "$COMP_CWORD" -eq 2 ]; then
      case "${{COMP_WORDS[1]}}" in
        tasks|optimize|eval|compare) tasks="$("${{COMP_WORDS[0]}}" tasks --names 2>/dev/null)" ;;
      esac
    fi
    COMPREPLY=($(compgen -W "$tasks" -- "$word") $(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _quern quern ./quern
)sh",
      join(command_names(app), " "), cases);
}

/// The text as it may stand in single quotes of zsh's _arguments and _describe.
std::string zsh_text(const std::string& text) {
  std::string plain = replace_all(text, "'", "'\\''");
  for (const char* special : {"[", "]", ":"}) {
    plain = replace_all(plain, special, std::string("\\") + special);
  }
  return plain;
}

std::string zsh_script(const CLI::App& app) {
  std::string list, cases;
  for (const CLI::App* sub : app.get_subcommands({})) {
    list += fmt::format("    '{}:{}'\n", sub->get_name(), zsh_text(sub->get_description()));
    cases += fmt::format("    {})\n      _arguments", sub->get_name());
    for (const Flag& flag : flags_of(*sub)) {
      cases += fmt::format(" \\\n        '{}[{}]'", flag.name, zsh_text(flag.help));
    }
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return fmt::format(
      R"sh(#compdef quern
# zsh completion of quern
_quern() {{
  local -a commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{}  esac
}}
compdef _quern quern
)sh",
      list, cases);
}

std::string fish_text(const std::string& text) {
  return "'" + replace_all(replace_all(text, "\\", "\\\\"), "'", "\\'") + "'";
}

std::string fish_script(const CLI::App& app) {
  std::string text = "# fish completion of quern\n";
  for (const CLI::App* sub : app.get_subcommands({})) {
    text += fmt::format("complete -c quern -n __fish_use_subcommand -a {} -d {}\n", sub->get_name(),
                        fish_text(sub->get_description()));
    for (const Flag& flag : flags_of(*sub)) {
      text += fmt::format("complete -c quern -n '__fish_seen_subcommand_from {}' -l {} -d {}\n",
                          sub->get_name(), flag.name.substr(2), fish_text(flag.help));
    }
  }
  return text +
         "complete -c quern -n '__fish_seen_subcommand_from tasks optimize eval compare' "
         "-a '(quern tasks --names)'\n";
}

}  // namespace

Action add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  const CLI::App* parent = app.get_parent();
  return [=](const Context& context) {
    std::string script = *shell == "bash"  ? bash_script(*parent)
                         : *shell == "zsh" ? zsh_script(*parent)
                                           : fish_script(*parent);
    if (context.json) {
      print_json(Json{{"shell", *shell}, {"script", script}});
    } else {
      print(script);
    }
    return int{kImproved};
  };
}

}  // namespace quern::cli
