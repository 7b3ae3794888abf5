// SPDX-License-Identifier: Apache-2.0
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace quern {

uint64_t Random::next() {
  uint64_t word = state_ += 0x9e3779b97f4a7c15ull;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
  return word ^ (word >> 31);
}

double Random::unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

size_t Random::below(size_t count) {
  QUERN_CHECK(count > 0, "a choice among nothing");
  return std::min(count - 1, static_cast<size_t>(unit() * static_cast<double>(count)));
}

size_t Random::weighted(const std::vector<double>& weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(total > 0)) return below(weights.size());
  double left = unit() * total;
  size_t last = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    last = i;
    if (left < weights[i]) return i;
    left -= weights[i];
  }
  return last;  // rounding
}

std::vector<double> softmax(const std::vector<double>& values, double temperature) {
  QUERN_CHECK(temperature > 0, "a softmax needs a temperature above 0");
  std::vector<double> shares(values.size());
  if (values.empty()) return shares;
  const double top = *std::max_element(values.begin(), values.end());
  double total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    total += shares[i] = std::exp((values[i] - top) / temperature);
  }
  for (double& share : shares) share /= total;
  return shares;
}

}  // namespace quern
