// SPDX-License-Identifier: Apache-2.0
#pragma once

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <string>

#include "base/dynamic_library.h"
#include "base/result.h"

namespace quern {

// One list for the pointers and for finding them.
// clang-format off
#define QUERN_OPENCL_FUNCTIONS(each) \
  each(GetPlatformIDs) each(GetPlatformInfo) each(GetDeviceIDs) each(GetDeviceInfo) \
  each(CreateContext) each(CreateCommandQueue) each(CreateBuffer) each(CreateSubBuffer) \
  each(ReleaseMemObject) each(EnqueueReadBuffer) each(EnqueueWriteBuffer) \
  each(EnqueueCopyBuffer) each(EnqueueFillBuffer) each(EnqueueNDRangeKernel) each(Finish) \
  each(CreateProgramWithSource) each(CreateProgramWithBinary) each(BuildProgram) \
  each(GetProgramInfo) each(GetProgramBuildInfo) each(ReleaseProgram) each(CreateKernel) \
  each(ReleaseKernel) each(SetKernelArg) each(GetKernelInfo) each(GetKernelArgInfo) \
  each(GetKernelWorkGroupInfo)
// clang-format on

/// The functions of OpenCL 1.2 that Quern uses, found in the ICD loader at run time, so that one
/// binary runs with and without it. Declarations come from the Khronos headers.
struct OpenClApi {
  /// Errors: kEnvironment without a loader.
  static Result<OpenClApi> load();

  DynamicLibrary library;
#define QUERN_CL(name) decltype(&::cl##name) name = nullptr;
  QUERN_OPENCL_FUNCTIONS(QUERN_CL)
#undef QUERN_CL
};

/// "CL_INVALID_ARG_SIZE", or "error -9999".
std::string opencl_status_name(cl_int status);

}  // namespace quern
