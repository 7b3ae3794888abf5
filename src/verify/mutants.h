// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "verify/oracle.h"

namespace quern {

/// A wrong kernel that every fit task must refuse.
struct Mutant {
  std::string name;  ///< "zeros", "identity", "constant", "stale", "unwritten", "half"
  bool caught = false;
  std::string detail;  ///< what gave it away, or why it passes
};

/// Tests the task rather than a candidate: computes what the task demands on a hidden shape, then
/// offers wrong answers in its place. A task that accepts one (its outputs hardly depend on its
/// inputs, or are constant) is unfit to judge kernels.
Result<std::vector<Mutant>> try_mutants(const ir::Program& program, const Oracle& oracle,
                                        uint64_t seed);

}  // namespace quern
