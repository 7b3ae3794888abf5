// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ir/program.h"

namespace quern::ir {

/// Work and traffic of a program at concrete sizes, as a roofline needs them.
struct Counts {
  double flops = 0;      ///< additions, multiplications, comparisons, and 1 per special function
  double special = 0;    ///< of these, exp, log, tanh, erf, sqrt, … evaluations
  double bytes_in = 0;   ///< every input read once
  double bytes_out = 0;  ///< every output written once
  double bytes_between = 0;  ///< intermediates, were each written once and read once
};

/// Guarded terms (padding, divisibility) count only where the guard holds: the share is estimated
/// on a fixed sample of points, so the count is exact for unguarded programs and close otherwise.
Counts count(const Program& program, const Sizes& sizes);

/// Bytes of all inputs and outputs: what a candidate's buffers need.
double io_bytes(const Program& program, const Sizes& sizes);

}  // namespace quern::ir
