// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "context.h"
#include "llm/agent_client.h"
#include "task_source.h"

namespace quern::cli {

/// How agents work for a run: the folder that is prepared for each call (task, plain kernel, how to
/// write one, `./evaluate`, which calls `quern eval`), what they may write, their environment.
/// Errors: a folder that cannot be made.
Result<llm::AgentClientOptions> agent_options(const Context& context, const RunOptions& options,
                                              const TaskAtSize& task,
                                              const std::string& run_directory);

}  // namespace quern::cli
