// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/subprocess.h"

namespace quern::llm {

/// A coding agent of somebody else's, run as a command in a directory prepared for it.
struct AgentCommand {
  /// Arguments; `{directory}`, `{prompt_file}`, `{output_file}` and `{prompt}` are filled in.
  std::vector<std::string> argv;
  std::vector<std::string> env;            ///< "NAME=value": the whole environment
  std::string output_file = "kernel.cpp";  ///< in the directory, what the agent is to leave
  double deadline_s = 900;
  Sandbox sandbox;
  size_t output_cap_bytes = size_t{1} << 20;
};

/// What an agent left. `file` is nothing when it wrote none.
struct AgentEnd {
  ProcessEnd process;
  std::optional<std::string> file;
};

/// Words of a command line: separated by blanks; '…' as it stands, "…" and \ as in a shell; nothing
/// is expanded. Errors: kUsage, a quote that is not closed.
Result<std::vector<std::string>> command_words(const std::string& line);

/// Writes `prompt` (as PROMPT.md, and on its standard input) and `files` (by name; those that
/// begin with `#!` can be run) into `directory`, which is made, runs the command there and reads
/// what it left. An agent that fails or takes too long is a value. Errors: a name that leads out of
/// the directory, an unknown placeholder (kUsage); a program that is missing, a directory that
/// cannot be written (kEnvironment).
Result<AgentEnd> run_agent(const AgentCommand& command, const std::string& directory,
                           const std::string& prompt,
                           const std::map<std::string, std::string>& files = {});

}  // namespace quern::llm
