// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace quern {

/// The middle of a sample, or of the two middle ones. Needs at least one value.
double median(std::vector<double> values);

struct Interval {
  double low = 0;
  double high = 0;
};

/// A confidence interval of the median from order statistics (binomial, no assumption about the
/// distribution). With too few values for the confidence asked, it is the whole range.
Interval median_interval(std::vector<double> values, double confidence);

/// The range of a sample without its lowest and its highest value. Needs at least three values.
Interval without_extremes(std::vector<double> values);

/// The sequential test of a duel: looks at growing samples of ratios, one a round, and may stop
/// early. The false-alarm probability over all looks together is at most `alpha` (each look spends
/// an equal part of it), for ratios that are independent and centred on 1.
struct DuelPolicy {
  double alpha = 0.005;
  int first_look = 12;  ///< ratios before the first decision
  int max_ratios = 48;
  double indifference = 0.005;   ///< ratios closer to 1 than this are never called different
  double precise_enough = 0.01;  ///< stop when the interval is narrower than this, relative
  double plain_enough = 0.05;    ///< the same where the two are different
  double limit_s = 20;           ///< no new round is begun after this long
};

struct DuelState {
  double ratio = 1;
  Interval interval{1, 1};
  bool different = false;
  bool finished = false;
};

/// State of a duel after `ratios` (baseline time ÷ candidate time, one per round). Decisions are
/// taken only at the looks (first_look, then half as many again each time, and max_ratios).
DuelState assess_duel(const std::vector<double>& ratios, const DuelPolicy& policy);

}  // namespace quern
