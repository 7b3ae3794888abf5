// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/driver.h"

#include <fmt/format.h>

#include "base/dynamic_library.h"

namespace quern::cuda {
namespace {

constexpr int kOldestVersion = 12000;

static_assert(sizeof(MemoryProperties) == 32 && sizeof(MemoryAccess) == 12);
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(LaunchConfig) == 56);
static_assert(sizeof(TensorMap) == 128);

Error unusable(const Driver& driver, const std::string& why) {
  return Error{ErrorKind::kEnvironment, fmt::format("the CUDA driver {} {}", driver.path, why),
               "nvidia-smi shows what the driver sees; the CPU target works without a GPU"};
}

}  // namespace

Result<std::unique_ptr<Driver>> Driver::open(const std::string& path) {
  auto library = DynamicLibrary::open({path.empty() ? "libcuda.so.1" : path});
  if (!library) {
    return Error{ErrorKind::kEnvironment,
                 "there is no CUDA driver here: " + library.error().message,
                 "install NVIDIA's driver (its library is libcuda.so.1), or use another target"};
  }
  auto driver = std::make_unique<Driver>();
  driver->path = library->path();
#define QUERN_FIND(field, symbol, arguments) library->find(symbol, driver->field, driver->missing);
  QUERN_CUDA_FUNCTIONS(QUERN_FIND)
#undef QUERN_FIND
  library->keep();
  if (!driver->missing.empty()) return unusable(*driver, "lacks " + driver->missing);
  if (driver->driver_version(&driver->version) != kSuccess || driver->version < kOldestVersion) {
    return unusable(*driver, fmt::format("is version {}.{}; it must be 12.0 or newer",
                                         driver->version / 1000, driver->version % 1000 / 10));
  }
  if (const Status status = driver->init(0); status != kSuccess) {
    return unusable(*driver, "finds no usable GPU: " + driver->text(status));
  }
  return driver;
}

std::string Driver::text(Status status) const {
  const char* name = nullptr;
  const char* sentence = nullptr;
  if (error_name(status, &name) != kSuccess || name == nullptr) {
    return fmt::format("status {}", status);
  }
  (void)error_text(status, &sentence);
  return fmt::format("{} ({})", name, sentence == nullptr ? "no description" : sentence);
}

Result<void> Driver::check(Status status, std::string_view what) const {
  if (status == kSuccess) return {};
  return Error{ErrorKind::kEnvironment, fmt::format("{}: {}", what, text(status)), ""};
}

bool is_device_fault(Status status) {
  switch (status) {
    case kIllegalAddress:
    case 702:  // launch timeout
    case 710:  // device-side assertion
    case 714:  // stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // address in the wrong space
    case 718:  // bad program counter
    case 719:  // anything else
    case 721:  // tensor memory leak
      return true;
    default:
      return false;
  }
}

}  // namespace quern::cuda
