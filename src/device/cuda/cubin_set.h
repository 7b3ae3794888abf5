// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

/// Several cubins as one image: what a precompiled candidate (record/precompiled.h) consists of.
namespace quern::cuda {

std::string pack_cubins(const std::vector<std::string>& cubins);

/// The cubins of an image; one that was not packed is itself the only one.
std::vector<std::string> unpack_cubins(std::string image);

}  // namespace quern::cuda
