// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace quern {

/// Makes the directory and its parents. Errors: kEnvironment with the path and the reason.
Result<void> make_run_directory(const std::string& path);

/// Takes the exclusive lock of a run directory: a descriptor to be closed, which releases it. The
/// lock dies with the process. Errors: kBusy naming the holder's process id.
Result<int> lock_run_directory(const std::string& path);

/// Writes to a temporary file beside `path`, then renames: readers see all or nothing.
Result<void> write_whole(const std::string& path, std::string_view bytes);
Result<std::string> read_whole(const std::string& path);

}  // namespace quern
