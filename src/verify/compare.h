// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace quern {

/// What one output must be. `value` is the oracle's f64 result; `scale` is the rounding-error
/// scale of each element in units of the unit roundoff (research 07 section 6), infinite where
/// rounding alone may decide the element (an argmax among near-ties). Both [elements].
struct ExpectedOutput {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  std::vector<double> value;
  std::vector<double> scale;
};

struct ComparePolicy {
  /// Accepted error in units of `scale` times the unit roundoff. `scale` already carries the
  /// square root of the chain length; the factor covers the tail of its distribution.
  double factor = 4;
  bool bitwise = false;  ///< exact probes: value equality, nothing else
};

struct CompareReport {
  bool ok = true;
  double max_error = 0;  ///< largest |candidate - value| / (u * scale)
  double rms_error = 0;
  int64_t wrong = 0;      ///< elements outside the bound
  int64_t unwritten = 0;  ///< of these, elements that still hold the poison pattern
  int64_t compared = 0;   ///< elements the oracle has an opinion on
  std::string worst;      ///< "y[3, 17]: got 0.25, expected 0.5, 4.1e6 times the rounding scale"
};

/// Byte that outputs are filled with before a call: a NaN that no arithmetic makes, or -1.
inline constexpr std::byte kPoison{0xff};

/// Compares a candidate's output buffer with what is expected, element by element.
CompareReport compare(std::span<const std::byte> got, const ExpectedOutput& expected,
                      const ComparePolicy& policy);

/// The sentence about one wrong element, as `CompareReport::worst` has it. `error` in units of the
/// rounding scale; infinite or negative: not said. `got` is "" for one that was never written.
std::string describe_element(const std::string& name, const Shape& shape, int64_t index,
                             const std::string& got, double expected, double error);

}  // namespace quern
