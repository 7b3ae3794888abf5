// SPDX-License-Identifier: Apache-2.0
#include "evaluate/statistics.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace quern {
namespace {

/// P(Binomial(n, 1/2) <= k).
double binomial_tail(int n, int k) {
  double log_choose = 0;
  double sum = 0;
  const double log_half = n * std::log(0.5);
  for (int i = 0; i <= k; ++i) {
    sum += std::exp(log_choose + log_half);
    log_choose += std::log(static_cast<double>(n - i)) - std::log(static_cast<double>(i + 1));
  }
  return sum;
}

/// The sample sizes at which a duel is judged.
std::vector<int> looks(const DuelPolicy& policy) {
  std::vector<int> sizes;
  for (int n = policy.first_look; n < policy.max_ratios; n += (n + 1) / 2) sizes.push_back(n);
  sizes.push_back(policy.max_ratios);
  return sizes;
}

}  // namespace

double median(std::vector<double> values) {
  QUERN_CHECK(!values.empty(), "median of nothing");
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<long>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  const double lower =
      *std::max_element(values.begin(), values.begin() + static_cast<long>(middle));
  return (lower + upper) / 2;
}

Interval median_interval(std::vector<double> values, double confidence) {
  QUERN_CHECK(!values.empty(), "interval of nothing");
  std::sort(values.begin(), values.end());
  const int n = static_cast<int>(values.size());
  int drop = 0;  // values left out at either end
  while (2 * (drop + 1) < n && 2 * binomial_tail(n, drop) <= 1 - confidence) ++drop;
  // The loop ends on the first `drop` whose tail is too heavy; the interval runs from there.
  const int first = std::max(0, drop - 1);
  return {values[static_cast<size_t>(first)], values[static_cast<size_t>(n - 1 - first)]};
}

Interval without_extremes(std::vector<double> values) {
  QUERN_CHECK(values.size() >= 3, "nothing is left without extremes");
  std::sort(values.begin(), values.end());
  return {values[1], values[values.size() - 2]};
}

DuelState assess_duel(const std::vector<double>& ratios, const DuelPolicy& policy) {
  DuelState state;
  if (ratios.empty()) return state;
  const std::vector<int> sizes = looks(policy);
  const int n = static_cast<int>(ratios.size());
  const double confidence = 1 - policy.alpha / static_cast<double>(sizes.size());
  state.ratio = median(ratios);
  state.interval = median_interval(ratios, confidence);
  if (std::find(sizes.begin(), sizes.end(), n) == sizes.end()) return state;
  const double margin = policy.indifference;
  state.different = state.interval.low > 1 + margin || state.interval.high < 1 - margin;
  const double width = state.interval.high - state.interval.low;
  const bool precise = width <= policy.precise_enough * state.ratio;
  const bool plain = state.different && width <= policy.plain_enough * state.ratio;
  state.finished = plain || precise || n >= policy.max_ratios;
  return state;
}

}  // namespace quern
