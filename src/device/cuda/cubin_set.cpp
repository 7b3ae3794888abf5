// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/cubin_set.h"

#include <string_view>

#include "device/device_wire.h"

namespace quern::cuda {
namespace {

constexpr std::string_view kMark = "quern cubins\n";  // no ELF file begins so

}  // namespace

std::string pack_cubins(const std::vector<std::string>& cubins) {
  return std::string(kMark) + to_wire(cubins);
}

std::vector<std::string> unpack_cubins(std::string image) {
  if (image.starts_with(kMark)) {
    auto packed = from_wire<std::vector<std::string>>(std::string_view(image).substr(kMark.size()));
    if (packed) return std::get<0>(std::move(*packed));
  }
  return {std::move(image)};
}

}  // namespace quern::cuda
