// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "record/evaluation.h"

namespace CLI {
class App;
}

namespace quern::cli {

/// Limits on what models may cost; 0: no limit.
struct ModelLimits {
  uint64_t calls = 0, tokens = 0;
  double usd = 0;
};

/// The options of every command that may ask models.
struct ModelArguments {
  std::string model, models, prompts, agent;
  std::vector<std::string> agent_env, agent_writes;
  double agent_s = 900;
  ModelLimits limits;
};

void add_limit_options(CLI::App& app, ModelLimits& limits);
void add_model_options(CLI::App& app, ModelArguments& arguments);

/// Puts the recipe, and all that it needs of models, into the options: a run keeps it. `recipe`: ""
/// is `quern`, or `agent` where an agent is named. One that can do without a model, and has none,
/// is the rules. Errors: an unknown recipe, one that asks a model where none is named, an unknown
/// provider, templates that are missing or that nobody asks for, limits that cannot be kept.
Result<void> choose_recipe(const std::string& recipe, const ModelArguments& arguments,
                           RunOptions& options);

/// Limits that are given (not 0) take the place of the run's.
void set_limits(const ModelLimits& limits, RunOptions& options);

}  // namespace quern::cli
