// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

namespace quern {

/// Numbers of a run's memory (table [memory] of a recipe).
struct InsightSettings {
  double capacity = 64;  ///< the least valuable, of equals the oldest, go first
  double rate = 0.3;     ///< of learning: value ← value + rate · (reward − value)
  double decay = 0.99;   ///< of every value, with each attempt that is judged
  double min_seen = 1;   ///< shown once it was said so often
};

/// Something learnt within a run.
struct Insight {
  std::string text;
  int node = 0;  ///< what it was learnt from
  int seen = 1;  ///< how often it was said
  double value = 0;
  int uses = 0;  ///< attempts made with it in view
};

/// What a run has learnt, in words, with what it was worth: an insight is credited with the reward
/// of every attempt that was made with it in view. Rewards are standardised by their running mean
/// and deviation, so that their scale does not matter (EvoKernel, arXiv 2603.10846, in its style).
class InsightMemory {
 public:
  explicit InsightMemory(InsightSettings settings) : settings_(settings) {}

  /// One insight; said before, word for word but for case and blanks, it only counts once more.
  void add(const std::string& text, int node);
  /// The lines of a reply as insights, at most `most`: of lists their items, else every line.
  void add_lines(const std::string& reply, int node, int most);

  /// Numbers of the `count` most valuable that were said often enough; of equals the newest first.
  std::vector<int> best(int count) const;
  const Insight& at(int id) const { return insights_.at(id); }
  bool has(int id) const { return insights_.contains(id); }
  int size() const { return static_cast<int>(insights_.size()); }

  /// An attempt made with these in view earned so much.
  void reward(const std::vector<int>& shown, double reward);

 private:
  double standardised(double reward);

  InsightSettings settings_;
  std::map<int, Insight> insights_;   ///< by number, which grows
  std::map<std::string, int> known_;  ///< by normalised text
  int next_ = 0;
  double mean_ = 0, square_ = 0;  ///< of rewards
  int rewards_ = 0;
};

/// The items of a list ("- x", "* x", "1. x"), or else the lines that are not empty.
std::vector<std::string> list_items(const std::string& reply);

}  // namespace quern
