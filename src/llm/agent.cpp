// SPDX-License-Identifier: Apache-2.0
#include "llm/agent.h"

#include <fmt/format.h>

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
  return write_file_atomic(path, text);
}

}  // namespace

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
