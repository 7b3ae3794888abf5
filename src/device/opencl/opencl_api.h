// SPDX-License-Identifier: Apache-2.0
#pragma once

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <string>

#include "base/dynamic_library.h"
#include "base/result.h"

namespace quern {

/// The functions of OpenCL 1.2 that Quern uses, found in the ICD loader at run time, so that one
/// binary runs with and without it. Declarations come from the Khronos headers.
struct OpenClApi {
  /// Errors: kEnvironment without a loader.
  static Result<OpenClApi> load();

  DynamicLibrary library;
#define QUERN_CL(name) decltype(&::cl##name) name = nullptr
  QUERN_CL(GetPlatformIDs);
  QUERN_CL(GetPlatformInfo);
  QUERN_CL(GetDeviceIDs);
  QUERN_CL(GetDeviceInfo);
  QUERN_CL(CreateContext);
  QUERN_CL(CreateCommandQueue);
  QUERN_CL(CreateBuffer);
  QUERN_CL(CreateSubBuffer);
  QUERN_CL(ReleaseMemObject);
  QUERN_CL(EnqueueReadBuffer);
  QUERN_CL(EnqueueWriteBuffer);
  QUERN_CL(EnqueueCopyBuffer);
  QUERN_CL(EnqueueFillBuffer);
  QUERN_CL(EnqueueNDRangeKernel);
  QUERN_CL(Finish);
  QUERN_CL(CreateProgramWithSource);
  QUERN_CL(CreateProgramWithBinary);
  QUERN_CL(BuildProgram);
  QUERN_CL(GetProgramInfo);
  QUERN_CL(GetProgramBuildInfo);
  QUERN_CL(ReleaseProgram);
  QUERN_CL(CreateKernel);
  QUERN_CL(ReleaseKernel);
  QUERN_CL(SetKernelArg);
  QUERN_CL(GetKernelInfo);
  QUERN_CL(GetKernelArgInfo);
  QUERN_CL(GetKernelWorkGroupInfo);
#undef QUERN_CL
};

/// "CL_INVALID_ARG_SIZE", or "error -9999".
std::string opencl_status_name(cl_int status);

}  // namespace quern
