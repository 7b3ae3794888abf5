// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// Names of the functions a shared library defines for others, in its own order. Reads the file's
/// tables (ELF, 64 bits); runs nothing of it. Errors: kInput when it is no such file.
Result<std::vector<std::string>> exported_functions(const std::string& path);

/// Names an object file uses and does not define. Errors as above.
Result<std::vector<std::string>> undefined_symbols(const std::string& path);

}  // namespace quern
