// SPDX-License-Identifier: Apache-2.0
#include "device/opencl/opencl_image.h"

#include <algorithm>

#include "base/strings.h"

namespace quern {
namespace {

std::string parameter_text(const OpenClApi& api, cl_kernel kernel, cl_uint index,
                           cl_kernel_arg_info what) {
  size_t size = 0;
  if (api.GetKernelArgInfo(kernel, index, what, 0, nullptr, &size) != CL_SUCCESS || size == 0) {
    return "";
  }
  std::string value(size, '\0');
  api.GetKernelArgInfo(kernel, index, what, size, value.data(), nullptr);
  value.resize(size - 1);
  return value;
}

}  // namespace

const OpenClImage::Kernel* OpenClImage::find(const std::string& kernel) const {
  const auto found =
      std::ranges::find_if(kernels, [&](const Kernel& one) { return one.name == kernel; });
  return found == kernels.end() ? nullptr : &*found;
}

std::vector<OpenClImage::Kernel> read_kernels(const OpenClDevice& device, cl_program program) {
  const OpenClApi& api = device.api;
  size_t size = 0;
  api.GetProgramInfo(program, CL_PROGRAM_KERNEL_NAMES, 0, nullptr, &size);
  std::string names(size, '\0');
  api.GetProgramInfo(program, CL_PROGRAM_KERNEL_NAMES, size, names.data(), nullptr);
  while (!names.empty() && names.back() == '\0') names.pop_back();
  std::vector<OpenClImage::Kernel> kernels;
  for (const std::string& name : split(names, ';')) {
    cl_int status = CL_SUCCESS;
    cl_kernel kernel = api.CreateKernel(program, name.c_str(), &status);
    if (status != CL_SUCCESS) continue;
    OpenClImage::Kernel known{name, {}};
    cl_uint count = 0;
    api.GetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof count, &count, nullptr);
    for (cl_uint i = 0; i < count; ++i) {
      known.parameters.push_back({parameter_text(api, kernel, i, CL_KERNEL_ARG_TYPE_NAME),
                                  parameter_text(api, kernel, i, CL_KERNEL_ARG_NAME)});
    }
    api.ReleaseKernel(kernel);
    kernels.push_back(std::move(known));
  }
  return kernels;
}

}  // namespace quern
