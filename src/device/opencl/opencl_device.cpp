// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace quern {
namespace {

constexpr const char* kInstallPocl =
    "on Debian: apt-get install pocl-opencl-icd runs OpenCL on the CPU; a GPU's driver brings its "
    "own";

struct Found {
  cl_platform_id platform;
  cl_device_id device;
  bool cpu;
};

template <class T>
T info(const OpenClApi& api, cl_device_id device, cl_device_info what) {
  T value{};
  api.GetDeviceInfo(device, what, sizeof value, &value, nullptr);
  return value;
}

std::string text(const OpenClApi& api, cl_device_id device, cl_device_info what) {
  size_t size = 0;
  if (api.GetDeviceInfo(device, what, 0, nullptr, &size) != CL_SUCCESS || size == 0) return "";
  std::string value(size, '\0');
  api.GetDeviceInfo(device, what, size, value.data(), nullptr);
  value.resize(size - 1);
  return value;
}

std::string platform_text(const OpenClApi& api, cl_platform_id platform, cl_platform_info what) {
  size_t size = 0;
  if (api.GetPlatformInfo(platform, what, 0, nullptr, &size) != CL_SUCCESS || size == 0) return "";
  std::string value(size, '\0');
  api.GetPlatformInfo(platform, what, size, value.data(), nullptr);
  value.resize(size - 1);
  return value;
}

std::vector<Found> find_devices(const OpenClApi& api) {
  cl_uint count = 0;
  if (api.GetPlatformIDs(0, nullptr, &count) != CL_SUCCESS || count == 0) return {};
  std::vector<cl_platform_id> platforms(count);
  api.GetPlatformIDs(count, platforms.data(), nullptr);
  std::vector<Found> found;
  for (cl_platform_id platform : platforms) {
    cl_uint here = 0;
    if (api.GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &here) != CL_SUCCESS) continue;
    std::vector<cl_device_id> devices(here);
    api.GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, here, devices.data(), nullptr);
    for (cl_device_id device : devices) {
      const auto type = info<cl_device_type>(api, device, CL_DEVICE_TYPE);
      found.push_back({platform, device, (type & CL_DEVICE_TYPE_CPU) != 0});
    }
  }
  std::stable_partition(found.begin(), found.end(), [](const Found& one) { return !one.cpu; });
  return found;
}

DeviceProperties describe(const OpenClApi& api, const Found& found, size_t devices) {
  DeviceProperties p;
  cl_device_id device = found.device;
  p.kind = "opencl";
  p.name = text(api, device, CL_DEVICE_NAME);
  p.platform = platform_text(api, found.platform, CL_PLATFORM_NAME) + ", " +
               platform_text(api, found.platform, CL_PLATFORM_VERSION);
  p.driver = text(api, device, CL_DRIVER_VERSION);
  p.architecture = text(api, device, CL_DEVICE_VENDOR) + " " + p.name;
  p.compute_units = static_cast<int>(info<cl_uint>(api, device, CL_DEVICE_MAX_COMPUTE_UNITS));
  p.memory_bytes = info<cl_ulong>(api, device, CL_DEVICE_GLOBAL_MEM_SIZE);
  p.largest_buffer_bytes = info<cl_ulong>(api, device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  p.shared_bytes = info<cl_ulong>(api, device, CL_DEVICE_LOCAL_MEM_SIZE);
  p.cache_bytes = info<cl_ulong>(api, device, CL_DEVICE_GLOBAL_MEM_CACHE_SIZE);
  p.max_block_threads = static_cast<int>(info<size_t>(api, device, CL_DEVICE_MAX_WORK_GROUP_SIZE));
  p.clock_mhz = info<cl_uint>(api, device, CL_DEVICE_MAX_CLOCK_FREQUENCY);
  p.shares_host = found.cpu;
  p.devices = static_cast<int>(devices);
  return p;
}

}  // namespace

Result<void> OpenClDevice::check(cl_int status, std::string_view what) const {
  if (status == CL_SUCCESS) return {};
  return Error{ErrorKind::kEnvironment,
               fmt::format("OpenCL could not {}: {}", what, opencl_status_name(status)), ""};
}

Result<OpenClDevice> OpenClDevice::open(int index) {
  OpenClDevice self;
  QUERN_ASSIGN(self.api, OpenClApi::load());
  const std::vector<Found> found = find_devices(self.api);
  if (found.empty()) {
    return Error{ErrorKind::kEnvironment, "there is no OpenCL device: no driver is installed",
                 kInstallPocl};
  }
  if (index < 0 || static_cast<size_t>(index) >= found.size()) {
    return Error{ErrorKind::kEnvironment,
                 fmt::format("there is no OpenCL device {}: there are {}, counted from 0", index,
                             found.size()),
                 kInstallPocl};
  }
  const Found& mine = found[static_cast<size_t>(index)];
  self.device = mine.device;
  self.properties = describe(self.api, mine, found.size());
  cl_int status = CL_SUCCESS;
  self.context = self.api.CreateContext(nullptr, 1, &self.device, nullptr, nullptr, &status);
  QUERN_TRY(self.check(status, "make a context on " + self.properties.name));
  self.queue = self.api.CreateCommandQueue(self.context, self.device, 0, &status);
  QUERN_TRY(self.check(status, "make a queue on " + self.properties.name));
  return self;
}

}  // namespace quern
