// SPDX-License-Identifier: Apache-2.0
#include "import.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "commands.h"
#include "interrupt.h"

namespace quern::cli {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// The interpreter of the project's Python environment: QUERN_PYTHON (the launcher sets it), else
/// the environment beside the sources.
Result<std::string> find_python(const std::string& root) {
  for (const std::string& path : {variable("QUERN_PYTHON"), root + "/.venv/bin/python"}) {
    if (!path.empty() && file_exists(path)) return path;
  }
  return Error{ErrorKind::kEnvironment, "there is no Python environment with PyTorch",
               "run it through the launcher (./quern import …), which makes one, or set "
               "QUERN_PYTHON to an interpreter that has torch"};
}

Result<quern::Command> python_command(const Context& context, const ImportOptions& options) {
  const std::string root = fs::path(context.tasks_directory).parent_path().string();
  QUERN_ASSIGN(const std::string python, find_python(root.empty() ? "." : root));
  quern::Command command;
  command.argv = {python, "-m", "quern.importer", options.file, "--quern", context.program};
  if (!options.out.empty()) command.argv.insert(command.argv.end(), {"--out", options.out});
  for (const std::string& name : options.only) {
    command.argv.insert(command.argv.end(), {"--only", name});
  }
  if (!options.check) command.argv.emplace_back("--no-check");
  if (options.evaluation) command.argv.emplace_back("--eval");
  if (options.widen) command.argv.emplace_back("--widen");
  if (options.resume) command.argv.emplace_back("--resume");
  command.env = {"PYTHONPATH=" + (root.empty() ? "." : root) + "/python", "LC_ALL=C.UTF-8",
                 "PYTHONPYCACHEPREFIX=" + context.cache_directory + "/pycache"};
  for (const char* name : {"PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR"}) {
    if (const std::string value = variable(name); !value.empty()) {
      command.env.push_back(fmt::format("{}={}", name, value));
    }
  }
  command.output_cap_bytes = size_t{64} << 20;
  return command;
}

/// Runs the importer to its end, passing on what it says as it says it.
Result<ExitStatus> follow(ChildProcess& child) {
  size_t said = 0;
  std::optional<ExitStatus> end;
  while (!end) {
    end = child.wait(0.25);
    const std::string& text = child.err();
    say(text.substr(said));
    said = text.size();
    if (!end && interrupted()) {
      child.kill();
      return Error{ErrorKind::kInterrupted, "interrupted", ""};
    }
  }
  return *end;
}

int count(const Json& report, const char* status) {
  int found = 0;
  for (const Json& task : report["tasks"]) found += task["status"] == status ? 1 : 0;
  return found;
}

std::string table(const Json& report) {
  std::string text;
  for (const Json& task : report["tasks"]) {
    const std::string reason = task.value("reason", "");
    text += fmt::format("{:<9} {:<56} {}\n", task["status"].get<std::string>(),
                        shorten(task["name"].get<std::string>(), 56),
                        reason.empty() ? task.value("path", "") : shorten(reason, 120));
  }
  return text + fmt::format("{} imported, {} opaque, {} failed\n", count(report, "imported"),
                            count(report, "opaque"), count(report, "failed"));
}

int run_import(const Context& context, const ImportOptions& options) {
  catch_interrupts();
  const Result<Json> report = import_modules(context, options);
  if (!report) return fail(context, report.error());
  if (context.json) {
    print_json(*report);
  } else {
    print(table(*report));
  }
  return count(*report, "failed") > 0 ? kUsageError : kImproved;
}

}  // namespace

bool is_module_file(const std::string& argument) { return argument.ends_with(".py"); }

Result<Json> import_modules(const Context& context, const ImportOptions& options) {
  if (!file_exists(options.file)) {
    return Error{ErrorKind::kUsage, fmt::format("{}: there is no such file", options.file),
                 "give a Python module file, or a .jsonl of them"};
  }
  QUERN_ASSIGN(const quern::Command command, python_command(context, options));
  QUERN_ASSIGN(ChildProcess child, ChildProcess::spawn(command));
  QUERN_ASSIGN(const ExitStatus end, follow(child));
  if (!end.ok()) {
    return Error{end.exit_code == kUsageError ? ErrorKind::kInput : ErrorKind::kInternal,
                 fmt::format("the importer stopped: {}", shorten(trim(child.err()), 400)), ""};
  }
  Json report = Json::parse(child.out(), nullptr, false);
  if (report.is_discarded() || !report.contains("tasks")) {
    return Error{ErrorKind::kInternal, "the importer printed no report", ""};
  }
  return report;
}

Result<std::string> import_one(const Context& context, const std::string& file,
                               const std::string& out) {
  ImportOptions options;
  options.file = file;
  options.out = out;
  QUERN_ASSIGN(const Json report, import_modules(context, options));
  const Json& task = report["tasks"][0];
  if (task["status"] == "imported") return task["path"].get<std::string>();
  return Error{ErrorKind::kInput,
               fmt::format("{} did not become a task: {}", file, task.value("reason", "")),
               "see docs/importing.md for what can be imported"};
}

Action add_import(CLI::App& app) {
  auto options = std::make_shared<ImportOptions>();
  app.add_option("FILE", options->file,
                 "A PyTorch module file, a .jsonl of them, a Definition .json, or a folder")
      ->required();
  app.add_option("--out", options->out, "Directory for the task files [imported]");
  app.add_option("--only", options->only, "Only this module: its name, or LEVEL/ID; repeatable");
  app.add_flag("!--no-check", options->check, "Do not compare with PyTorch nor try wrong kernels");
  app.add_flag("--eval", options->evaluation, "Evaluation mode [training mode, as KernelBench]");
  app.add_flag("--widen", options->widen, "16-bit floats of Definitions become 32-bit ones");
  app.add_flag("--resume", options->resume, "Go on where an import into this directory stopped");
  return [options](const Context& context) { return run_import(context, *options); };
}

}  // namespace quern::cli
