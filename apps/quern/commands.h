// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>

#include "context.h"

namespace CLI {
class App;
}

namespace quern::cli {

/// What a command does once its arguments are parsed; returns the exit code.
using Action = std::function<int(const Context&)>;

/// One sub-command. `add` declares its options on `app` and returns what to run.
struct Command {
  const char* name;
  const char* summary;
  Action (*add)(CLI::App& app);
  const char* examples;
};

/// Every sub-command, in the order of the help text.
std::span<const Command> commands();

Action add_doctor(CLI::App& app);
Action add_tasks(CLI::App& app);
Action add_optimize(CLI::App& app);
Action add_eval(CLI::App& app);
Action add_compare(CLI::App& app);
Action add_import(CLI::App& app);
Action add_profile(CLI::App& app);
Action add_resume(CLI::App& app);
Action add_replay(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_report(CLI::App& app);
Action add_export(CLI::App& app);
Action add_actions(CLI::App& app);
Action add_recipes(CLI::App& app);
Action add_completion(CLI::App& app);

/// Declares the whole command line. The chosen command's action is left in `action`.
void declare(CLI::App& app, Context& context, Action& action);

}  // namespace quern::cli
