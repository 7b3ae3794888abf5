// SPDX-License-Identifier: Apache-2.0
#include "llm/agent.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/file.h"
#include "base/strings.h"

namespace quern::llm {
namespace {

constexpr const char* kPromptFile = "PROMPT.md";

Result<void> check_name(const std::string& name) {
  bool plain = !name.empty() && name.front() != '/';
  for (const std::string& part : split(name, '/')) plain = plain && part != ".." && !part.empty();
  if (plain) return {};
  return Error{ErrorKind::kUsage, fmt::format("'{}' leads out of the agent's directory", name), ""};
}

/// Fills the placeholders in. What is put in is not looked at again.
Result<std::string> filled_in(const std::string& text,
                              const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t end = text[at] == '{' ? text.find('}', at) : std::string::npos;
    if (end == std::string::npos) {
      out += text[at++];
      continue;
    }
    std::string name = text.substr(at + 1, end - at - 1);
    // Other braces belong to the command: JSON, shell.
    if (auto found = values.find(name); found != values.end()) {
      out += found->second;
      at = end + 1;
    } else if (is_identifier(name)) {
      return Error{ErrorKind::kUsage, fmt::format("unknown placeholder '{{{}}}'", name),
                   "known: {directory}, {output_file}, {prompt}, {prompt_file}"};
    } else {
      out += text[at++];
    }
  }
  return out;
}

Result<void> write_into(const std::string& directory, const std::string& name,
                        const std::string& text) {
  QUERN_TRY(check_name(name));
  std::string path = directory + "/" + name;
  QUERN_TRY(make_directories(path.substr(0, path.rfind('/'))));
  QUERN_TRY(write_file_atomic(path, text));
  if (text.starts_with("#!") && ::chmod(path.c_str(), 0755) != 0)
    return system_error("make executable", path, errno);
  return {};
}

}  // namespace

Result<std::vector<std::string>> command_words(const std::string& line) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (size_t at = 0; at < line.size(); ++at) {
    const char c = line[at];
    if (!quote && (c == ' ' || c == '\t' || c == '\n')) {
      in_word = false;
      continue;
    }
    if (!std::exchange(in_word, true)) words.emplace_back();
    if (c == quote) {
      quote = 0;
    } else if (!quote && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && at + 1 < line.size()) {
      words.back() += line[++at];
    } else {
      words.back() += c;
    }
  }
  if (!quote) return words;
  return Error{ErrorKind::kUsage, fmt::format("a {} is not closed in: {}", quote, line), ""};
}

Result<AgentEnd> run_agent(const AgentCommand& command, const std::string& directory,
                           const std::string& prompt,
                           const std::map<std::string, std::string>& files) {
  QUERN_TRY(check_name(command.output_file));
  QUERN_TRY(make_directories(directory));
  QUERN_TRY(remove_all(directory + "/" + command.output_file));
  for (const auto& [name, text] : files) QUERN_TRY(write_into(directory, name, text));
  QUERN_TRY(write_into(directory, kPromptFile, prompt));
  Command process;
  for (const std::string& word : command.argv) {
    QUERN_ASSIGN(std::string argument, filled_in(word, {{"directory", directory},
                                                        {"prompt_file", kPromptFile},
                                                        {"output_file", command.output_file},
                                                        {"prompt", prompt}}));
    process.argv.push_back(std::move(argument));
  }
  if (process.argv.empty()) return Error{ErrorKind::kUsage, "the agent's command is empty", ""};
  process.env = command.env;
  process.cwd = directory;
  process.stdin_text = prompt;
  process.deadline_s = command.deadline_s;
  process.sandbox = command.sandbox;
  process.output_cap_bytes = command.output_cap_bytes;
  AgentEnd end;
  QUERN_ASSIGN(end.process, run_process(process));
  if (auto text = read_file(directory + "/" + command.output_file, command.output_cap_bytes))
    end.file = std::move(*text);
  return end;
}

}  // namespace quern::llm
