// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context.h"
#include "device/cpu/machine.h"
#include "device/device_backend.h"
#include "device/device_compiler.h"
#include "device/device_worker.h"
#include "evaluate/device_evaluator.h"
#include "record/evaluator.h"
#include "task_source.h"

namespace quern::cli {

/// The referee of a task on OpenCL devices, by number; on the first where none are given. Errors:
/// no loader, no driver, no such device.
Result<std::unique_ptr<Evaluator>> make_opencl_evaluator(const Context& context,
                                                         const TaskAtSize& task,
                                                         const RunOptions& options,
                                                         const std::vector<int>& devices);

/// A referee on each of these devices of a kind, as one: they share the compiler of the options,
/// which must then be thread-safe, and each has so many builds at most in its hands.
Result<std::unique_ptr<Evaluator>> spread_over(const TaskAtSize& task,
                                               const DeviceEvaluator::Options& options,
                                               const std::vector<int>& devices, size_t window);

/// The devices of a kind on this machine, each asked in a worker of its own. Errors: none, with
/// the reason and what to install.
Result<std::vector<DeviceProperties>> list_devices(const Context& context, const std::string& kind);

/// What a device of that name and driver can do: as kept, or else measured now and kept.
Result<Peaks> device_peaks(const Context& context, DeviceCompiler& compiler,
                           const WorkerOptions& worker, const std::string& name,
                           const std::string& version);

}  // namespace quern::cli
