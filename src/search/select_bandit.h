// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "search/select.h"

namespace quern {

/// Means of the rewards of some arms, and upper confidence bounds on them.
class BanditArms {
 public:
  BanditArms(size_t count, double mean, double pulls) : mean_(count, mean), pulls_(count, pulls) {}
  size_t size() const { return mean_.size(); }
  double mean(size_t arm) const { return mean_[arm]; }
  double pulls(size_t arm) const { return pulls_[arm]; }
  /// mean + c · sqrt(ln round / pulls)
  double bound(size_t arm, double c, double round) const;
  /// The arm with the highest bound among those allowed; the first of equals.
  size_t best(double c, double round, const std::vector<bool>& allowed) const;
  void reward(size_t arm, double value);

 private:
  std::vector<double> mean_, pulls_;
};

/// Which strategies a kernel may still profit from: those whose resource is loaded below its limit.
/// Where all would be masked, the one whose resource is furthest below (or least above) stays.
/// A resource without a load or a limit masks nothing. [strategies]
std::vector<bool> strategy_mask(const std::vector<Strategy>& strategies,
                                const std::map<std::string, double>& load,
                                const std::map<std::string, double>& limits);

/// k-means with k-means++ seeding on z-scored features; the cluster of each point. [points]
/// Fewer clusters where there are fewer distinct points.
std::vector<int> k_means(std::vector<std::vector<double>> points, size_t clusters, Random& random);

/// Value of a node by rank among n, visited `visits` of `total` times:
/// (n − rank) / (n − 1) + c · sqrt(ln(total + 1) / (visits + 1)); rank 1 is the best; 1 where n
/// is 1.
double rank_bound(int rank, int n, int total, int visits, double c);

/// What is known of a technique under one kind of bottleneck.
struct TechniqueValue {
  double predicted = 0;  ///< expected gain, percent
  double confidence = 0.5;
  int uses = 0;
  double composite = 0;  ///< running mean of the gains seen, percent
  /// predicted · confidence − min(0.1 · uses, 0.5) + 0.1 · composite
  double score() const;
  /// Takes in a gain, percent: reward = gain + 0.2 where the prediction was right within 20 %, −
  /// 0.5 where the kernel became slower. Returns the reward.
  double learn(double gain);
};

}  // namespace quern
