// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cuda/driver.h"

/// CUPTI's range profiler as far as Quern uses it, declared by ourselves. Each function takes one
/// structure whose first field is its size up to and including the last field known. Layouts:
/// CUPTI 12.6, "Range Profiling API" and "Profiler Host API".
namespace quern::cuda::cupti {

using Object = void*;

struct Initialize {
  size_t size = 16;
  void* reserved = nullptr;
};
struct ChipName {
  size_t size = 32;
  void* reserved = nullptr;
  size_t device = 0;
  const char* name = nullptr;
};
struct Availability {
  size_t size = 40;
  void* reserved = nullptr;
  ContextHandle context = nullptr;
  size_t bytes = 0;
  uint8_t* image = nullptr;
};

struct HostInitialize {
  size_t size = 48;
  void* reserved = nullptr;
  int kind = 0;  ///< range profiler
  const char* chip = nullptr;
  const uint8_t* availability = nullptr;
  Object host = nullptr;
};
struct HostObject {  ///< deinitialize
  size_t size = 24;
  void* reserved = nullptr;
  Object host = nullptr;
};
struct AddMetrics {
  size_t size = 40;
  void* reserved = nullptr;
  Object host = nullptr;
  const char** names = nullptr;
  size_t count = 0;
};
struct ConfigSize {
  size_t size = 32;
  void* reserved = nullptr;
  Object host = nullptr;
  size_t bytes = 0;
};
struct ConfigImage {
  size_t size = 40;
  void* reserved = nullptr;
  Object host = nullptr;
  size_t bytes = 0;
  uint8_t* image = nullptr;
};
struct PassCount {
  size_t size = 40;
  void* reserved = nullptr;
  size_t bytes = 0;
  uint8_t* image = nullptr;
  size_t passes = 0;
};
struct Evaluate {
  size_t size = 72;
  void* reserved = nullptr;
  Object host = nullptr;
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  size_t range = 0;
  const char** names = nullptr;
  size_t count = 0;
  double* values = nullptr;
};

struct Enable {
  size_t size = 32;
  void* reserved = nullptr;
  ContextHandle context = nullptr;
  Object profiler = nullptr;
};
struct Profiler {  ///< disable, start
  size_t size = 24;
  void* reserved = nullptr;
  Object profiler = nullptr;
};
struct Stop {
  size_t size = 41;
  void* reserved = nullptr;
  Object profiler = nullptr;
  size_t pass = 0;
  size_t nesting = 0;
  uint8_t all_passes = 0;
};
struct Decode {
  size_t size = 32;
  void* reserved = nullptr;
  Object profiler = nullptr;
  size_t dropped = 0;
};
struct DataSize {
  size_t size = 64;
  void* reserved = nullptr;
  Object profiler = nullptr;
  const char** names = nullptr;
  size_t count = 0;
  size_t ranges = 0;
  uint32_t nodes = 0;
  size_t bytes = 0;
};
struct DataInitialize {
  size_t size = 40;
  void* reserved = nullptr;
  Object profiler = nullptr;
  size_t bytes = 0;
  uint8_t* data = nullptr;
};
struct SetConfig {
  size_t size = 90;
  void* reserved = nullptr;
  Object profiler = nullptr;
  size_t config_bytes = 0;
  const uint8_t* config = nullptr;
  size_t data_bytes = 0;
  uint8_t* data = nullptr;
  int range = 1;   ///< a range for each kernel
  int replay = 3;  ///< by us
  size_t ranges = 0;
  uint16_t nesting_levels = 1;
  uint16_t least_nesting = 1;
  size_t pass = 0;
  uint16_t target_nesting = 0;
};
struct DataInfo {
  size_t size = 40;
  void* reserved = nullptr;
  const uint8_t* data = nullptr;
  size_t bytes = 0;
  size_t ranges = 0;
};

// One row a function: field, symbol, structure.
#define QUERN_CUPTI_FUNCTIONS(FUNCTION)                                                     \
  FUNCTION(initialize, "cuptiProfilerInitialize", Initialize)                               \
  FUNCTION(chip_name, "cuptiDeviceGetChipName", ChipName)                                   \
  FUNCTION(availability, "cuptiProfilerGetCounterAvailability", Availability)               \
  FUNCTION(host_initialize, "cuptiProfilerHostInitialize", HostInitialize)                  \
  FUNCTION(host_deinitialize, "cuptiProfilerHostDeinitialize", HostObject)                  \
  FUNCTION(add_metrics, "cuptiProfilerHostConfigAddMetrics", AddMetrics)                    \
  FUNCTION(config_size, "cuptiProfilerHostGetConfigImageSize", ConfigSize)                  \
  FUNCTION(config_image, "cuptiProfilerHostGetConfigImage", ConfigImage)                    \
  FUNCTION(pass_count, "cuptiProfilerHostGetNumOfPasses", PassCount)                        \
  FUNCTION(evaluate, "cuptiProfilerHostEvaluateToGpuValues", Evaluate)                      \
  FUNCTION(enable, "cuptiRangeProfilerEnable", Enable)                                      \
  FUNCTION(disable, "cuptiRangeProfilerDisable", Profiler)                                  \
  FUNCTION(start, "cuptiRangeProfilerStart", Profiler)                                      \
  FUNCTION(stop, "cuptiRangeProfilerStop", Stop)                                            \
  FUNCTION(decode, "cuptiRangeProfilerDecodeData", Decode)                                  \
  FUNCTION(data_size, "cuptiRangeProfilerGetCounterDataSize", DataSize)                     \
  FUNCTION(data_initialize, "cuptiRangeProfilerCounterDataImageInitialize", DataInitialize) \
  FUNCTION(set_config, "cuptiRangeProfilerSetConfig", SetConfig)                            \
  FUNCTION(data_info, "cuptiRangeProfilerGetCounterDataInfo", DataInfo)

}  // namespace quern::cuda::cupti
