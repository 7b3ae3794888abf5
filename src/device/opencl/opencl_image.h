// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "device/device_wire.h"
#include "device/opencl/opencl_device.h"

namespace quern {

/// What the OpenCL compiler made of a source: the driver's binary, and the kernels' parameters,
/// which drivers no longer know of a program that was loaded from a binary.
struct OpenClImage {
  struct Parameter {
    std::string type, name;  ///< "float*", "x"
  };
  struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
  };
  std::vector<Kernel> kernels;
  std::string binary;

  /// Null where there is no such kernel, or nothing is known of it.
  const Kernel* find(const std::string& kernel) const;
};

template <class W>
void wire(W& w, OpenClImage::Parameter& parameter) {
  w(parameter.type), w(parameter.name);
}
template <class W>
void wire(W& w, OpenClImage::Kernel& kernel) {
  w(kernel.name), w(kernel.parameters);
}
template <class W>
void wire(W& w, OpenClImage& image) {
  w(image.kernels), w(image.binary);
}

/// The kernels of a program that was built from source, with `-cl-kernel-arg-info`.
std::vector<OpenClImage::Kernel> read_kernels(const OpenClDevice& device, cl_program program);

}  // namespace quern
