// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "context.h"
#include "device/cpu/compiler.h"
#include "device/cpu/machine.h"
#include "llm/client.h"
#include "propose/proposer.h"
#include "record/evaluator.h"
#include "search/recipe_proposer.h"
#include "task_source.h"

namespace quern::cli {

/// The only place where concrete evaluators and proposers are chosen.
Result<std::unique_ptr<Evaluator>> make_evaluator(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options);
/// `client`: for recipes that ask models, else null; outlives the proposer.
Result<std::unique_ptr<Proposer>> make_proposer(const TaskAtSize& task, const RunOptions& options,
                                                const Environment& environment,
                                                llm::Client* client);

/// What a recipe works on in a run.
RecipeSetting make_setting(const TaskAtSize& task, const RunOptions& options,
                           const Environment& environment);

/// The text of a recipe: a built-in one by name, or a .toml file. Errors: unknown, with a
/// suggestion; a file that cannot be read.
Result<std::string> recipe_text(const std::string& name);
/// Its name: of a file, what stands before `.toml`.
std::string recipe_name(const std::string& name);

/// Options of the compiler that candidates are built with, on this machine's cache.
CompilerOptions compiler_options(const Context& context, const std::string& compiler);

/// Where the machine's measured peaks are kept.
std::string peaks_path(const Context& context, int threads);

/// The machine's peaks: as kept, or else measured now (two seconds) and kept.
Result<Peaks> machine_peaks(const Context& context, const CpuCompiler& compiler, int threads);

}  // namespace quern::cli
