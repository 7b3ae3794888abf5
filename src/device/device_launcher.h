// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/subprocess.h"
#include "device/device_worker.h"

namespace quern {

/// The command that starts a worker in a folder of its own, confined as its kind of device allows.
/// Errors: kEnvironment without the program, kUsage for an unknown kind.
Result<Command> device_worker_command(const WorkerOptions& options, const std::string& folder);

}  // namespace quern
