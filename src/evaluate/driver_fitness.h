// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "evaluate/driver_program.h"

/// Whether a driver's check can tell right from wrong. ParEval's cannot all: some refuse the answer
/// that the driver itself compares with, some accept a function that does nothing. Candidates for
/// such a driver have no verdict.
namespace quern {

/// What is wrong with the check of a driver; "" where nothing is found, or nothing can be tried.
/// `prompt`: what stands before the function, and its first line, which ends in `{`.
/// Where a candidate has passed (`one_passed`), a function that does nothing (its result the zero
/// of its type) is tried; else the function that the driver's `best` calls. Errors: as
/// judge_driver.
Result<std::string> driver_fault(const DriverTask& task, const std::string& prompt, bool one_passed,
                                 const DriverOptions& options);

}  // namespace quern
