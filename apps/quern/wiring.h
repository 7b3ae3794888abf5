// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "context.h"
#include "propose/proposer.h"
#include "record/evaluator.h"
#include "task_source.h"

namespace quern::cli {

/// The only place where concrete evaluators and proposers are chosen.
Result<std::unique_ptr<Evaluator>> make_evaluator(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options);
Result<std::unique_ptr<Proposer>> make_proposer(const TaskAtSize& task, const RunOptions& options);

/// Names `--recipe` takes.
std::vector<std::string> recipe_names();

}  // namespace quern::cli
