// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

/// The field's measures of a set of kernels, as pure functions of counts and times; definitions and
/// sources in docs/metrics.md. Times are of one unit; a failed sample has an infinite time, hence a
/// speedup of 0. Arguments outside a measure's domain yield NaN, never a number that looks right.
namespace quern::metrics {

/// The speedup of a candidate that failed.
inline constexpr double kFailed = 0;

/// Probability that at least one of `k` samples drawn without replacement from `n`, of which
/// `correct` are right, is right: 1 - C(n - correct, k) / C(n, k). Domain: 0 <= correct <= n,
/// 1 <= k <= n. Source: arXiv 2107.03374.
double pass_at_k(int n, int correct, int k);

/// Expected best speedup of `k` of the samples drawn without replacement: with times T sorted from
/// slowest to fastest, the sum over j = k…n of C(j - 1, k - 1) / C(n, k) · baseline / T_j. Failed
/// samples are slowest of all. Domain: 1 <= k <= n, baseline > 0. Source: arXiv 2401.12554.
double speedup_at_k(double baseline, std::span<const double> times, int k);

/// The same for each unit of `resources` (threads, ranks) that the samples ran on.
double efficiency_at_k(double baseline, std::span<const double> times, int k, double resources);

/// Share of tasks that are right and faster than `p` times the baseline (strictly): KernelBench's
/// fast_p, and BackendBench's perf@p. Failed tasks have the speedup `kFailed`.
double fast_p(std::span<const double> speedups, double p);

/// Share of pairs (task, workload) on which the candidate beats the best known implementation by
/// more than `p`: both spans run over the same pairs. FlashInfer-Bench's win@p.
double win_at_p(std::span<const double> best_known, std::span<const double> times, double p);

/// What a geometric mean makes of failed tasks. There is no default: a mean that does not say so
/// says nothing.
enum class Failures {
  kExcluded,    ///< left out; only fair beside the count
  kAsBaseline,  ///< 1: the baseline is used instead
  kAsZero,      ///< 0: any failure makes the mean 0
};

struct GeometricMean {
  double value = 0;  ///< NaN where nothing is counted
  int counted = 0;   ///< speedups that entered the mean
  int failed = 0;    ///< speedups that were `kFailed`
};
GeometricMean geometric_mean(std::span<const double> speedups, Failures failures);

/// Share of the roofline that a kernel reaches: the greater of bytes / bandwidth and flops / peak,
/// over its time. Times in s, rates per s. Above 1: the count or the peak is wrong, or the kernel
/// did not do the work.
double roofline_share(double bytes, double bytes_per_s, double flops, double flops_per_s,
                      double time_s);

/// 1 / (1 + (time - floor) / (baseline - floor)): 0.5 at the baseline, 1 at the floor ("speed of
/// light"), 0 for a failure. Where the baseline is at its floor already: 1 at the floor or below,
/// else 0. Not clamped: above 1 below the floor. Source: SOL-ExecBench.
double sol_score(double time, double floor, double baseline);

/// A percentile interval of a statistic over tasks.
struct Interval {
  double value = 0;  ///< of all tasks
  double low = 0, high = 0;
};

/// Bootstrap over tasks: the statistic of `resamples` draws, with replacement, of as many tasks;
/// their (1 - level) / 2 and (1 + level) / 2 quantiles. `statistic` gets the drawn tasks' indices.
/// Draws on which it is NaN are left out. Same seed, same interval.
Interval bootstrap(int tasks, const std::function<double(std::span<const int>)>& statistic,
                   uint64_t seed, int resamples = 2000, double level = 0.95);

}  // namespace quern::metrics
