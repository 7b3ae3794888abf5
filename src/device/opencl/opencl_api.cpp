// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_api.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {

Result<OpenClApi> OpenClApi::load() {
  auto library = DynamicLibrary::open({"libOpenCL.so.1", "libOpenCL.so"});
  if (!library) {
    return Error{ErrorKind::kEnvironment,
                 "the OpenCL loader is missing: " + library.error().message,
                 "on Debian: apt-get install ocl-icd-libopencl1, and pocl-opencl-icd to run OpenCL "
                 "on the CPU"};
  }
  OpenClApi api;
  api.library = std::move(*library);
  std::string missing;
#define QUERN_CL(name) api.library.find("cl" #name, api.name, missing);
  QUERN_OPENCL_FUNCTIONS(QUERN_CL)
#undef QUERN_CL
  if (!missing.empty()) {
    return Error{
        ErrorKind::kEnvironment,
        fmt::format("{} has no {}: it is older than OpenCL 1.2", api.library.path(), missing), ""};
  }
  api.library.keep();  // drivers leave threads behind
  return api;
}

std::string opencl_status_name(cl_int status) {
  struct Row {
    cl_int status;
    const char* name;
  };
#define QUERN_CL(name) \
  Row { CL_##name, "CL_" #name }
  static constexpr Row kRows[] = {
      QUERN_CL(DEVICE_NOT_FOUND),        QUERN_CL(DEVICE_NOT_AVAILABLE),
      QUERN_CL(COMPILER_NOT_AVAILABLE),  QUERN_CL(MEM_OBJECT_ALLOCATION_FAILURE),
      QUERN_CL(OUT_OF_RESOURCES),        QUERN_CL(OUT_OF_HOST_MEMORY),
      QUERN_CL(BUILD_PROGRAM_FAILURE),   QUERN_CL(INVALID_VALUE),
      QUERN_CL(INVALID_BINARY),          QUERN_CL(INVALID_BUILD_OPTIONS),
      QUERN_CL(INVALID_PROGRAM),         QUERN_CL(INVALID_PROGRAM_EXECUTABLE),
      QUERN_CL(INVALID_KERNEL_NAME),     QUERN_CL(INVALID_KERNEL_DEFINITION),
      QUERN_CL(INVALID_KERNEL),          QUERN_CL(INVALID_ARG_INDEX),
      QUERN_CL(INVALID_ARG_VALUE),       QUERN_CL(INVALID_ARG_SIZE),
      QUERN_CL(INVALID_KERNEL_ARGS),     QUERN_CL(INVALID_WORK_DIMENSION),
      QUERN_CL(INVALID_WORK_GROUP_SIZE), QUERN_CL(INVALID_WORK_ITEM_SIZE),
      QUERN_CL(INVALID_BUFFER_SIZE),     QUERN_CL(INVALID_MEM_OBJECT),
      QUERN_CL(INVALID_OPERATION),       QUERN_CL(MISALIGNED_SUB_BUFFER_OFFSET),
  };
#undef QUERN_CL
  const auto* found =
      std::ranges::find_if(kRows, [&](const Row& row) { return row.status == status; });
  return found == std::end(kRows) ? fmt::format("error {}", status) : found->name;
}

}  // namespace quern
