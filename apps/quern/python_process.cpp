// SPDX-License-Identifier: Apache-2.0
#include "python_process.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "interrupt.h"

namespace quern::cli {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Result<std::string> find_python(const std::string& root) {
  for (const std::string& path : {variable("QUERN_PYTHON"), root + "/.venv/bin/python"}) {
    if (!path.empty() && file_exists(path)) return path;
  }
  return Error{ErrorKind::kEnvironment, "there is no Python environment with PyTorch",
               "run it through the launcher (./quern …), which makes one, or set QUERN_PYTHON to "
               "an interpreter that has torch"};
}

}  // namespace

Result<quern::Command> make_python_command(const Context& context, const std::string& module) {
  std::string root = std::filesystem::path(context.tasks_directory).parent_path().string();
  if (root.empty()) root = ".";
  QUERN_ASSIGN(const std::string python, find_python(root));
  quern::Command command;
  command.argv = {python, "-m", module};
  command.env = {"PYTHONPATH=" + root + "/python", "LC_ALL=C.UTF-8",
                 "PYTHONPYCACHEPREFIX=" + context.cache_directory + "/pycache"};
  for (const char* name : {"PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR", "CUDA_HOME",
                           "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"}) {
    if (const std::string value = variable(name); !value.empty()) {
      command.env.push_back(fmt::format("{}={}", name, value));
    }
  }
  command.output_cap_bytes = size_t{64} << 20;
  return command;
}

Result<ProcessEnd> run_python(const quern::Command& command) {
  QUERN_ASSIGN(ChildProcess child, ChildProcess::spawn(command));
  ProcessEnd end;
  size_t said = 0;
  std::optional<ExitStatus> status;
  while (!status) {
    status = child.wait(0.25);
    const std::string& text = child.err();
    say(text.substr(said));
    said = text.size();
    if (!status && interrupted()) {
      child.kill();
      return Error{ErrorKind::kInterrupted, "interrupted", ""};
    }
  }
  end.status = *status;
  end.out = child.out();
  end.err = child.err();
  return end;
}

}  // namespace quern::cli
