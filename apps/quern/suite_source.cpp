// SPDX-License-Identifier: Apache-2.0
#include "suite_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/suggest.h"
#include "import.h"
#include "task_source.h"

namespace quern::cli {
namespace {

namespace fs = std::filesystem;

/// Task sets that come with Quern.
constexpr const char* kStarter = "starter";

SuiteTask task_at(const fs::path& path) {
  SuiteTask task;
  task.name = task.alias = path.stem();
  task.path = path;
  return task;
}

std::vector<SuiteTask> tasks_in(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    if (entry.path().extension() == ".task") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<SuiteTask> tasks;
  for (const fs::path& file : files) tasks.push_back(task_at(file));
  return tasks;
}

/// Where ParEval keeps the programs around its tasks, KIND/NAME, and what they share.
constexpr const char* kDrivers = "drivers/cpp/benchmarks";

std::vector<SuiteTask> drivers_in(const std::string& folder) {
  std::vector<SuiteTask> tasks;
  std::error_code code;
  for (const auto& entry : fs::recursive_directory_iterator(folder + "/" + kDrivers, code)) {
    if (entry.path().filename() != "cpu.cc") continue;
    SuiteTask& task = tasks.emplace_back();
    task.driver = entry.path().parent_path();
    task.name = task.alias = entry.path().parent_path().filename();
  }
  std::ranges::sort(tasks, {}, &SuiteTask::name);
  return tasks;
}

/// A row of the importer's report.
SuiteTask imported_task(const Json& row) {
  const std::string status = row["status"], reason = row.value("reason", "");
  SuiteTask task;
  task.alias = row["name"];
  if (row["level"].is_number_integer()) task.level = row["level"];
  if (row["problem_id"].is_number_integer()) task.problem = row["problem_id"];
  task.module = row.value("module", "");
  task.call_adapter = row.value("/adapters/call"_json_pointer, "");
  task.fill_adapter = row.value("/adapters/fill"_json_pointer, "");
  task.path = row.value("path", "");
  const std::string& file = task.path.empty() ? task.module : task.path;
  task.name = file.empty() ? task.alias : fs::path(file).stem().string();
  const bool nothing = task.module.empty() && task.path.empty();
  if (status == "unsupported") task.unsupported = reason;
  if (nothing && status == "failed") task.unsupported = status + ": " + reason;
  const bool unfit = row.contains("fit") && row["fit"] == false;
  if (status == "imported" && !unfit) return task;
  task.path.clear();
  if (status != "listed") task.no_task_file = unfit ? reason : status + ": " + reason;
  return task;
}

Result<std::vector<SuiteTask>> imported_tasks(const Context& context,
                                              const ImportOptions& options) {
  QUERN_ASSIGN(const Json report, import_modules(context, options));
  std::vector<SuiteTask> tasks;
  for (const Json& row : report["tasks"]) tasks.push_back(imported_task(row));
  return tasks;
}

/// Whether something is offered for it that is no Python: that needs a task file.
bool needs_task_file(const SuiteTask& task, const OfferedSamples& offered) {
  return std::ranges::any_of(offered.samples, [&](const OfferedSample& sample) {
    return sample.language != "python" && sample.unsupported.empty() && is_for(sample, task);
  });
}

Result<std::vector<SuiteTask>> import_suite(const Context& context, const SuiteQuery& query) {
  ImportOptions options;
  options.file = query.suite;
  options.out = query.imported;
  options.only = query.only;
  options.widen = query.widen;
  options.resume = true;
  if (query.offered == nullptr) return imported_tasks(context, options);
  options.list = true;
  QUERN_ASSIGN(std::vector<SuiteTask> tasks, imported_tasks(context, options));
  options.list = false;
  options.only.clear();
  for (const SuiteTask& task : tasks) {
    if (!needs_task_file(task, *query.offered)) continue;
    options.only.push_back(task.level > 0 ? fmt::format("{}/{}", task.level, task.problem)
                                          : task.alias);
  }
  if (options.only.empty()) return tasks;
  QUERN_ASSIGN(const std::vector<SuiteTask> imported, imported_tasks(context, options));
  for (SuiteTask& task : tasks) {
    for (const SuiteTask& made : imported) {
      if (made.alias != task.alias || made.level != task.level) continue;
      task.path = made.path;
      task.no_task_file = made.no_task_file;
    }
  }
  return tasks;
}

bool wanted(const SuiteTask& task, const std::vector<std::string>& only) {
  return only.empty() || std::ranges::count(only, task.name) > 0;
}

}  // namespace

Result<void> check_suite(const SuiteQuery& query) {
  std::error_code code;
  if (query.suite == kStarter || fs::exists(query.suite, code)) return {};
  const std::string meant = did_you_mean(query.suite, {kStarter, "recipes"});
  return Error{
      ErrorKind::kUsage, fmt::format("no suite named '{}'", query.suite),
      (meant.empty() ? "" : meant + " ") +
          "give `starter`, a folder of .task files, a folder or .jsonl of modules, a folder of "
          "Definitions, or ParEval's (docs/benchmarking.md)"};
}

Result<std::vector<SuiteTask>> load_suite(const Context& context, const SuiteQuery& query) {
  std::error_code code;
  std::vector<SuiteTask> tasks;
  if (query.suite.ends_with(".task")) {
    tasks = {task_at(query.suite)};
  } else if (fs::is_directory(query.suite, code)) {
    tasks = tasks_in(query.suite);
    if (tasks.empty()) tasks = drivers_in(query.suite);
  } else if (query.suite == kStarter) {
    tasks = tasks_in(context.tasks_directory);
  }
  if (tasks.empty()) return import_suite(context, query);
  std::erase_if(tasks, [&](const SuiteTask& task) { return !wanted(task, query.only); });
  if (!tasks.empty()) return tasks;
  return Error{ErrorKind::kUsage, fmt::format("{} has none of the tasks asked for", query.suite),
               "see: quern tasks"};
}

}  // namespace quern::cli
