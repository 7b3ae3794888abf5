// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/subprocess.h"
#include "context.h"

namespace quern::cli {

/// A command that runs a module of python/ in the project's Python environment: QUERN_PYTHON (the
/// launcher sets it), else the environment beside the sources. Errors: kEnvironment where there is
/// none, with how to make it.
Result<quern::Command> make_python_command(const Context& context, const std::string& module);

/// Runs it to its end, passing on what it says on stderr as it says it. Errors: it cannot be
/// started; kInterrupted.
Result<ProcessEnd> run_python(const quern::Command& command);

}  // namespace quern::cli
