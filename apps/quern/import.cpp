// SPDX-License-Identifier: Apache-2.0
#include "import.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/file.h"
#include "base/strings.h"
#include "base/subprocess.h"
#include "commands.h"
#include "interrupt.h"
#include "python_process.h"

namespace quern::cli {
namespace {

Result<quern::Command> python_command(const Context& context, const ImportOptions& options) {
  QUERN_ASSIGN(quern::Command command, make_python_command(context, "quern.importer"));
  command.argv.insert(command.argv.end(), {options.file, "--quern", context.program});
  if (!options.out.empty()) command.argv.insert(command.argv.end(), {"--out", options.out});
  for (const std::string& name : options.only) {
    command.argv.insert(command.argv.end(), {"--only", name});
  }
  if (!options.check) command.argv.emplace_back("--no-check");
  if (options.evaluation) command.argv.emplace_back("--eval");
  if (options.widen) command.argv.emplace_back("--widen");
  if (options.resume) command.argv.emplace_back("--resume");
  if (options.list) command.argv.emplace_back("--list");
  return command;
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
  QUERN_ASSIGN(const ProcessEnd end, run_python(command));
  if (end.status.exit_code == kEnvironmentError) {
    const std::string text(trim(end.err));
    return Error{ErrorKind::kEnvironment, text.substr(text.rfind('\n') + 1),
                 "free some space there, or choose another directory; then run it again"};
  }
  if (!end.status.ok()) {
    return Error{end.status.exit_code == kUsageError ? ErrorKind::kInput : ErrorKind::kInternal,
                 fmt::format("the importer stopped: {}", shorten(trim(end.err), 400)), ""};
  }
  Json report = Json::parse(end.out, nullptr, false);
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
