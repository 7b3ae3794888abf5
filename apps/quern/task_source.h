// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "context.h"
#include "ir/program.h"
#include "record/evaluation.h"

namespace quern::cli {

/// A task at one of its size sets.
struct TaskAtSize {
  ir::Program program;
  std::string size;
  ir::Sizes sizes;
};

/// Names of the tasks shipped beside the program, sorted.
std::vector<std::string> task_names(const Context& context);

/// The path of a task: the argument itself if there is such a file, else NAME.task in the task
/// directory. Errors: kUsage with the nearest name.
Result<std::string> find_task(const Context& context, const std::string& name);

/// Loads a task and binds a size set; "" takes `cpu` where the task has it, else `full`. Errors:
/// those of the parser, an unknown size set (lists them), sizes beyond this machine's memory (says
/// how much), unless the target has memory of its own.
Result<TaskAtSize> load_task_at(const Context& context, const std::string& name,
                                const std::string& size, const std::string& target = "cpu");
/// The same from a task's text (a run keeps it).
Result<TaskAtSize> parse_task_at(const std::string& text, const std::string& file,
                                 const std::string& size, const std::string& target = "cpu");

/// Says in a run's options which task it is of.
void set_task(const TaskAtSize& task, RunOptions& options);

/// A run's task, to look at: it may need more memory than there is here.
Result<TaskAtSize> recorded_task(const RunOptions& options);

/// Size sets of a program: "full", then the declared ones.
std::vector<std::string> size_sets(const ir::Program& program);

/// Reads a candidate's source. Errors: missing, a directory, empty, binary, above 64 MiB.
Result<std::string> read_candidate(const std::string& path);

}  // namespace quern::cli
