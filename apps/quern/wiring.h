// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "context.h"
#include "device/cpu/compiler.h"
#include "device/cpu/machine.h"
#include "llm/client.h"
#include "propose/proposer.h"
#include "record/evaluator.h"
#include "search/recipe_proposer.h"
#include "task_source.h"

namespace CLI {
class App;
}

namespace quern::cli {

/// What candidates can be made for, and the language they are then written in.
const std::vector<std::string>& known_targets();
std::string candidate_language(const std::string& target);

/// The only place where concrete evaluators and proposers are chosen. `devices`: which of the
/// target's devices share the work, "0,1", or "all" (OpenCL: those of this machine; CUDA: those
/// like the first); "": the one of the options. `guard`: of GPUs, as `parse_guard_use` takes it.
Result<std::unique_ptr<Evaluator>> make_evaluator(const Context& context, const TaskAtSize& task,
                                                  const RunOptions& options,
                                                  const std::string& devices = "",
                                                  const std::string& guard = "auto");

/// What a command that spreads its work over devices takes: what was asked for by --devices; the
/// one of --device, if that was given; else "all", where the target's devices are GPUs.
std::string devices_to_use(const std::string& devices, bool one_given, const std::string& target);

/// The option --devices.
void add_devices_option(CLI::App& app, std::string& devices);
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
