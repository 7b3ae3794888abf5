// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/cpu/machine.h"
#include "device/device_compiler.h"
#include "device/device_worker.h"

namespace quern {

/// What a device can do at best, measured with kernels of ours: copies between two buffers at
/// growing working sets, chains of f32 multiply-adds, and on CUDA products of TF32 tiles on the
/// tensor cores, three of which make an f32 product. `Peaks::cpu` is the device's name. A read
/// alone is not measured: `read_gbs` repeats the copy's rate. Errors: kEnvironment.
Result<Peaks> measure_device_peaks(DeviceCompiler& compiler, const WorkerOptions& worker);

}  // namespace quern
