// SPDX-License-Identifier: Apache-2.0
#include "task_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/file.h"
#include "base/strings.h"
#include "base/suggest.h"
#include "ir/check.h"
#include "record/precompiled.h"
#include "task/parse.h"
#include "verify/oracle.h"

namespace quern::cli {
namespace {

namespace fs = std::filesystem;

/// Bytes that the kernel says can still be had, or 0 where it does not say.
double available_bytes() {
  Result<std::string> text = read_file("/proc/meminfo");
  if (!text) return 0;
  size_t at = text->find("MemAvailable:");
  return at == std::string::npos ? 0 : std::strtod(text->c_str() + at + 13, nullptr) * 1024;
}

Result<void> check_memory(const TaskAtSize& task) {
  double needed = evaluation_bytes(task.program, task.sizes);
  double available = available_bytes();
  if (available == 0 || needed <= available) return {};
  return Error{
      ErrorKind::kEnvironment,
      fmt::format("{} at size '{}' needs about {:.3g} GB of memory; {:.3g} GB are free",
                  task.program.name, task.size, needed / 1e9, available / 1e9),
      fmt::format("choose a smaller size: --size {}", join(size_sets(task.program), " | "))};
}

Result<TaskAtSize> at_size(ir::Program program, const std::string& size) {
  TaskAtSize task;
  std::vector<std::string> sets = size_sets(program);
  task.size = size;
  if (size.empty()) {
    task.size = std::find(sets.begin(), sets.end(), "cpu") != sets.end() ? "cpu" : "full";
  } else if (std::find(sets.begin(), sets.end(), size) == sets.end()) {
    return Error{ErrorKind::kUsage, fmt::format("{} has no size set '{}'", program.name, size),
                 fmt::format("it has: {}", join(sets, ", "))};
  }
  QUERN_ASSIGN(task.sizes, ir::bind_sizes(program, task.size));
  QUERN_TRY(ir::check_sizes(program, task.sizes));
  task.program = std::move(program);
  return task;
}

Result<TaskAtSize> fitting(Result<TaskAtSize> task, const std::string& target) {
  // What is too large for the host may be judged on the GPU, which says so if it is not.
  if (task && target != "cuda") QUERN_TRY(check_memory(*task));
  return task;
}

}  // namespace

std::vector<std::string> task_names(const Context& context) {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(context.tasks_directory, code)) {
    if (entry.path().extension() == ".task") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> find_task(const Context& context, const std::string& name) {
  std::error_code code;
  bool is_path = name.find('/') != std::string::npos || name.ends_with(".task");
  std::string shipped = fmt::format("{}/{}.task", context.tasks_directory, name);
  if (!is_path && file_exists(shipped)) return shipped;
  if (fs::exists(name, code) && (is_path || fs::is_regular_file(name, code))) return name;
  if (is_path) return Error{ErrorKind::kUsage, fmt::format("no task file {}", name), ""};
  std::string meant = did_you_mean(name, task_names(context));
  return Error{
      ErrorKind::kUsage, fmt::format("no task named '{}'", name),
      meant.empty() ? "`quern tasks` lists them; a path to a .task file works too" : meant};
}

Result<TaskAtSize> load_task_at(const Context& context, const std::string& name,
                                const std::string& size, const std::string& target) {
  QUERN_ASSIGN(std::string path, find_task(context, name));
  QUERN_ASSIGN(ir::Program program, load_task(path));
  return fitting(at_size(std::move(program), size), target);
}

Result<TaskAtSize> parse_task_at(const std::string& text, const std::string& file,
                                 const std::string& size, const std::string& target) {
  QUERN_ASSIGN(ir::Program program, parse_task(text, file));
  return fitting(at_size(std::move(program), size), target);
}

void set_task(const TaskAtSize& task, RunOptions& options) {
  options.task_name = task.program.name;
  options.task_text = print_task(task.program);
  options.size = task.size;
}

Result<TaskAtSize> recorded_task(const RunOptions& options) {
  QUERN_ASSIGN(ir::Program program, parse_task(options.task_text, options.task_name));
  return at_size(std::move(program), options.size);
}

std::vector<std::string> size_sets(const ir::Program& program) {
  std::vector<std::string> names = {"full"};
  for (const ir::SizeSet& set : program.size_sets) {
    if (set.name != "full") names.push_back(set.name);
  }
  return names;
}

Result<std::string> read_candidate(const std::string& path) {
  QUERN_ASSIGN(std::string source, read_file(path, kPrecompiledBytes));
  if (trim(source).empty()) {
    return Error{ErrorKind::kInput, fmt::format("{} is empty", path), "a candidate is C++ source"};
  }
  const auto control = [](unsigned char c) { return c < ' ' && !std::isspace(c); };
  if (std::any_of(source.begin(), source.end(), control)) {
    return Error{ErrorKind::kInput, fmt::format("{} is a binary file", path),
                 "a candidate is C++ source, not a compiled library"};
  }
  return source;
}

}  // namespace quern::cli
