// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace quern {

/// The number after a name in a reply ("Base: 12" -> 12), or -1. The name in lower case; capitals
/// and marks between the two do not matter.
int named_number(const std::string& reply, const std::string& name);

/// Something to try, as a model designed it; gains as it estimates them, in percent.
struct Experiment {
  std::string description;
  double min_gain = 0;
  double max_gain = 0;
  double innovation = 0;
};

/// The JSON list in a reply, of {"description", "min", "max", "innovation"}. What makes no sense is
/// passed over.
std::vector<Experiment> parse_experiments(const std::string& reply);

/// The most innovative, of the others the one with the highest upper gain, of the rest the one with
/// the highest lower gain (GPU Kernel Scientist, arXiv 2506.20807).
std::vector<Experiment> chosen_experiments(std::vector<Experiment> all);

}  // namespace quern
