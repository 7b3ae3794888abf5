// SPDX-License-Identifier: Apache-2.0
#include "agent_folder.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "codegen/reference.h"
#include "wiring.h"

namespace quern::cli {
namespace {

namespace fs = std::filesystem;

/// What agents commonly need to find their programs and their own settings; never a key.
constexpr const char* kPassedOn[] = {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TERM"};

constexpr const char* kInstructions = R"(# How to work here

You work in a folder of your own; nothing else can be written.

| file | what |
|---|---|
| `PROMPT.md` | what is asked of you: the task, how a kernel is called, what was tried before |
| `task.task` | the operator, as mathematics |
| `naive.cpp` | the plain version, correct: where to begin |
| `kernel.cpp` | **yours to write**: what is in it when you end is your answer |
| `./evaluate [FILE]` | judges a kernel (`kernel.cpp`) as the referee will: compiles it, verifies it, times it; exit code 0 when it passed. `--json` says everything |

Leave the fastest kernel that passes in `kernel.cpp`, then end. The last one that passed stands as
`passed.cpp`: it counts where your time runs out or `kernel.cpp` is missing. Where the prompt asks for advice and
not for code, print it and leave `kernel.cpp` away. You have {:.0f} seconds in all.
)";

std::string quoted(const std::string& text) { return "'" + replace_all(text, "'", "'\\''") + "'"; }

/// A program for the agent to call. Its cache is not the referee's: an agent may write there.
std::string evaluate_script(const Context& context, const RunOptions& options,
                            const std::string& cache) {
  std::string command =
      fmt::format("{} eval task.task \"$file\" --size {} --compiler {} --clock {} --seed {}",
                  quoted(context.program), quoted(options.size), quoted(options.compiler),
                  quoted(options.clock), options.seed);
  if (options.threads > 0) command += fmt::format(" --threads {}", options.threads);
  return fmt::format(
      "#!/bin/sh\n"
      "# Judges a kernel as the referee will. usage: ./evaluate [FILE] [--json]\n"
      "cd \"$(dirname \"$0\")\" || exit 5\n"
      "case ${{1:---}} in -*) file=kernel.cpp ;; *) file=$1; shift ;; esac\n"
      "XDG_CACHE_HOME={} {} \"$@\"\n"
      "code=$?\n"
      "[ $code -eq 0 ] && cp \"$file\" passed.cpp\n"
      "exit $code\n",
      quoted(cache), command);
}

std::vector<std::string> environment(const RunOptions& options) {
  std::vector<std::string> names(std::begin(kPassedOn), std::end(kPassedOn));
  names.insert(names.end(), options.agent_env.begin(), options.agent_env.end());
  std::vector<std::string> values;
  for (const std::string& name : names) {
    if (const char* value = std::getenv(name.c_str())) values.push_back(name + "=" + value);
  }
  return values;
}

}  // namespace

Result<llm::AgentClientOptions> agent_options(const Context& context, const RunOptions& options,
                                              const TaskAtSize& task,
                                              const std::string& run_directory) {
  llm::AgentClientOptions made;
  std::error_code code;
  made.directory = fs::absolute(run_directory, code).string() + "/agents";
  made.cache = made.directory + "/cache";
  made.files = {{"task.task", options.task_text},
                {"naive.cpp", emit_naive(task.program)},
                {"README.md", fmt::format(fmt::runtime(kInstructions), options.agent_s)},
                {"evaluate", evaluate_script(context, options, made.cache)}};
  made.env = environment(options);
  const char* path = std::getenv("PATH");
  made.search_path = split(path ? path : "/usr/bin:/bin", ':');
  made.writable = options.agent_writes;
  made.deadline_s = options.agent_s;
  return made;
}

}  // namespace quern::cli
