// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace quern {

/// Names of the functions a shared library defines for others, in its own order. Reads the file's
/// tables (ELF, 64 bits); runs nothing of it. Errors: kInput when it is no such file.
Result<std::vector<std::string>> exported_functions(const std::string& path);

}  // namespace quern
