// SPDX-License-Identifier: Apache-2.0
#include "search/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/random.h"

namespace quern::metrics {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

/// The value at a share of the way through sorted values, between neighbours where it falls there.
double quantile(const std::vector<double>& sorted, double share) {
  if (sorted.empty()) return kNothing;
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (place - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

double pass_at_k(int n, int correct, int k) {
  if (k < 1 || k > n || correct < 0 || correct > n) return kNothing;
  if (n - correct < k) return 1;
  double all_wrong = 1;
  for (int i = n - correct + 1; i <= n; ++i) all_wrong *= 1 - static_cast<double>(k) / i;
  return 1 - all_wrong;
}

double speedup_at_k(double baseline, std::span<const double> times, int k) {
  const int n = static_cast<int>(times.size());
  if (k < 1 || k > n || !(baseline > 0)) return kNothing;
  std::vector<double> sorted(times.begin(), times.end());
  std::ranges::sort(sorted, std::greater<>());
  // The weight C(j - 1, k - 1) / C(n, k) of the fastest, j = n, is k / n; each slower one follows.
  double weight = static_cast<double>(k) / n, expected = 0;
  for (int j = n; j >= k; --j) {
    expected += weight * baseline / sorted[static_cast<size_t>(j - 1)];
    if (j > k) weight *= static_cast<double>(j - k) / (j - 1);
  }
  return expected;
}

double efficiency_at_k(double baseline, std::span<const double> times, int k, double resources) {
  if (!(resources > 0)) return kNothing;
  return speedup_at_k(baseline, times, k) / resources;
}

double fast_p(std::span<const double> speedups, double p) {
  if (speedups.empty()) return kNothing;
  const auto fast = std::ranges::count_if(
      speedups, [p](double speedup) { return speedup != kFailed && speedup > p; });
  return static_cast<double>(fast) / static_cast<double>(speedups.size());
}

double win_at_p(std::span<const double> best_known, std::span<const double> times, double p) {
  if (times.empty() || times.size() != best_known.size()) return kNothing;
  std::vector<double> speedups;
  for (size_t i = 0; i < times.size(); ++i) speedups.push_back(best_known[i] / times[i]);
  return fast_p(speedups, p);
}

GeometricMean geometric_mean(std::span<const double> speedups, Failures failures) {
  GeometricMean mean;
  double logs = 0;
  for (const double speedup : speedups) {
    const bool failed = speedup == kFailed;
    mean.failed += failed ? 1 : 0;
    if (failed && failures == Failures::kExcluded) continue;
    ++mean.counted;
    logs += failed && failures == Failures::kAsBaseline ? 0 : std::log(speedup);
  }
  mean.value = mean.counted == 0 ? kNothing : std::exp(logs / mean.counted);
  return mean;
}

double roofline_share(double bytes, double bytes_per_s, double flops, double flops_per_s,
                      double time_s) {
  if (!(bytes_per_s > 0) || !(flops_per_s > 0) || !(time_s > 0)) return kNothing;
  return std::max(bytes / bytes_per_s, flops / flops_per_s) / time_s;
}

double sol_score(double time, double floor, double baseline) {
  if (!(time > 0) || !(floor > 0) || !(baseline > 0)) return kNothing;
  if (std::isinf(time)) return 0;
  if (baseline <= floor) return time <= floor ? 1 : 0;
  return 1 / (1 + (time - floor) / (baseline - floor));
}

Interval bootstrap(int tasks, const std::function<double(std::span<const int>)>& statistic,
                   uint64_t seed, int resamples, double level) {
  if (tasks < 1 || resamples < 1 || !(level > 0 && level < 1)) {
    return {kNothing, kNothing, kNothing};
  }
  std::vector<int> drawn(static_cast<size_t>(tasks));
  for (int i = 0; i < tasks; ++i) drawn[static_cast<size_t>(i)] = i;
  Interval interval;
  interval.value = statistic(drawn);
  Random random(seed);
  std::vector<double> seen;
  for (int draw = 0; draw < resamples; ++draw) {
    for (int& task : drawn) task = static_cast<int>(random.below(drawn.size()));
    const double value = statistic(drawn);
    if (!std::isnan(value)) seen.push_back(value);
  }
  std::ranges::sort(seen);
  interval.low = quantile(seen, (1 - level) / 2);
  interval.high = quantile(seen, (1 + level) / 2);
  return interval;
}

}  // namespace quern::metrics
