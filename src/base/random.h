// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace quern {

/// Random numbers that are the same on every machine and library (splitmix64). A search is a
/// function of its seed; the distributions of <random> differ between libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next();
  /// Uniform in [0, 1).
  double unit();
  /// Uniform in [0, count); `count` is at least 1.
  size_t below(size_t count);
  bool chance(double probability) { return unit() < probability; }
  /// An index drawn in proportion to weights that are not negative; uniform where all are 0.
  size_t weighted(const std::vector<double>& weights);

 private:
  uint64_t state_;
};

/// exp(value / temperature), normalised; the largest value is subtracted first. [values]
std::vector<double> softmax(const std::vector<double>& values, double temperature);

}  // namespace quern
