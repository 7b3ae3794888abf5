// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "context.h"

namespace quern::cli {

/// How `quern import` reads module files (docs/importing.md).
struct ImportOptions {
  std::string file, out;
  std::vector<std::string> only;  ///< names, or LEVEL/ID; empty: all
  bool check = true;              ///< against PyTorch, and with wrong kernels
  bool evaluation = false;        ///< trace in evaluation mode, not in training mode
  bool widen = false;             ///< 16-bit floats of Definitions become 32-bit ones
  bool resume = false;            ///< modules that `out` has already are not done again
  bool list = false;              ///< import nothing, only save each module's file in `out`
};

/// Runs the Python importer; its report: {"tasks": [{name, level, problem_id, status, reason, path,
/// …}]}. Errors: kEnvironment where the Python environment is missing (says how to make it), the
/// importer's own.
Result<Json> import_modules(const Context& context, const ImportOptions& options);

/// Whether an argument that names a task is a module file.
bool is_module_file(const std::string& argument);

/// Imports the one module of a file into a directory; the path of its task file. Errors: it did not
/// become a task, with the reason.
Result<std::string> import_one(const Context& context, const std::string& file,
                               const std::string& out);

}  // namespace quern::cli
