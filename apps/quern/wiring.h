// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "context.h"
#include "device/cpu/compiler.h"
#include "device/cpu/machine.h"
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

/// Options of the compiler that candidates are built with, on this machine's cache.
CompilerOptions compiler_options(const Context& context, const std::string& compiler);

/// Where the machine's measured peaks are kept.
std::string peaks_path(const Context& context, int threads);

/// The machine's peaks: as kept, or else measured now (two seconds) and kept.
Result<Peaks> machine_peaks(const Context& context, const CpuCompiler& compiler, int threads);

}  // namespace quern::cli
